// Chat formats: how a conversation becomes the text that a chat model was trained on.
//
// A table of known formats, chosen by name or by a model's own template. A template is never run:
// it is recognised by its exact text, and another one is refused. Tools, and contents other than
// text, have no place here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/pieces.h"

namespace graft {

struct Turn {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
  bool is_learnt = true;  // of an assistant's: training learns it

  friend bool operator==(const Turn&, const Turn&) = default;
};

struct ChatFormat {
  // Every turn is open + content + close. Of an assistant's, `lead` + content + close is what the
  // model writes; `tail` follows it.
  struct Side {
    std::string open, close;
  };
  enum class System {
    kAnywhere,     // a turn like the others
    kInFirstUser,  // only first; it goes into the user's turn that follows
    kRefused,
  };

  std::string name;
  std::string start;  // before the first turn
  Side system, user, assistant;
  std::string lead, tail;
  std::string prompt;          // asks for an answer; "": the user's turn does that already
  std::string default_system;  // where the first turn is no system turn; "": none
  std::string preamble;  // begins the system turn at the start, which is there even without a text;
                         // "": none
  System system_place = System::kAnywhere;
  bool alternates = false;  // user and assistant must take turns, the user first
  bool strips = false;      // white space at both ends of a content goes
  std::string no_thought;  // what an answer without a thought begins with; "": this format knows no
                           // thoughts
  std::vector<std::string> marks;    // tokens of the vocabulary that the text relies on
  std::vector<std::string> digests;  // SHA-256 of the templates that make this text
};

// Throws InputError with the known names if there is no such format.
const ChatFormat& chat_format(std::string_view name);
std::vector<std::string> chat_format_names();

// The format whose template is exactly `template_text` (chat_template in tokenizer_config.json,
// tokenizer.chat_template in GGUF). Throws InputError with the way out, `source` first, if none is.
const ChatFormat& recognise_chat(std::string_view template_text,
                                 const std::string& source = "chat_template");

// The mark that ends an assistant's turn: one of the format's marks. A model that learnt the format
// writes it and stops there.
const std::string& end_of_turn(const ChatFormat& format);

// Throws InputError if one of the format's marks is not a token: the model was not trained on it.
void check_chat(const ChatFormat& format, const Tokenizer& tokenizer);

// The pieces joined are what the template makes of the turns, beginning-of-text mark included:
// encode them by encode_pieces. With `add_generation_prompt` the text ends where an answer begins.
// Throws InputError on no turn, another role, or an order of roles that the template refuses; turns
// are counted from 1.
std::vector<Piece> render_chat(const ChatFormat& format, const std::vector<Turn>& turns,
                               bool add_generation_prompt);

}  // namespace graft
