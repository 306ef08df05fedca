#include "text/chat.h"

#include <algorithm>

#include "base/digest.h"
#include "base/error.h"
#include "text/unicode.h"

namespace graft {

namespace {

ChatFormat chatml(std::string name, std::string default_system, std::vector<std::string> digests) {
  ChatFormat out;
  out.name = std::move(name);
  out.system = {"<|im_start|>system\n", "<|im_end|>\n"};
  out.user = {"<|im_start|>user\n", "<|im_end|>\n"};
  out.assistant = {"<|im_start|>assistant\n", "<|im_end|>"};
  out.tail = "\n";
  out.prompt = out.assistant.open;
  out.default_system = std::move(default_system);
  out.marks = {"<|im_start|>", "<|im_end|>"};
  out.digests = std::move(digests);
  return out;
}

// Answers come without thoughts: the empty one stands in the prompt, as with enable_thinking=false.
ChatFormat qwen3() {
  ChatFormat out = chatml("qwen3", "",
                          {"87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5",
                           "a55ee1b1660128b7098723e0abcd92caa0788061051c62d51cbe87d9cf1974d8"});
  out.no_thought = "<think>\n\n</think>\n\n";
  out.prompt = out.assistant.open + out.no_thought;
  return out;
}

ChatFormat llama2() {
  ChatFormat out;
  out.name = "llama-2";
  out.system = {"<<SYS>>\n", "\n<</SYS>>\n\n"};
  out.user = {"<s>[INST] ", " [/INST]"};
  out.assistant = {"", " </s>"};
  out.lead = " ";
  out.system_place = ChatFormat::System::kInFirstUser;
  out.alternates = out.strips = true;
  out.marks = {"<s>", "</s>"};
  out.digests = {"9780fae5bfea3cfd7be37d328c6edfd296a8869be8131495bbe7eb37e780c88c",
                 "e8d5b5a546d3f19df16a5320c614fab05bdc4edd50e850f1afd947b503ea41cf",
                 "5e53c989e0be846d15684f709272441562fff0321d7d47693d54c0f0ed9f4822",
                 "7fcbb4353f3f484117a3dd8fcf597b435ab2d68cf856fd27acf69bb97c170793"};
  return out;
}

ChatFormat llama3(std::string name, std::string preamble, std::vector<std::string> digests) {
  ChatFormat out;
  out.name = std::move(name);
  out.start = "<|begin_of_text|>";
  const auto open = [](const std::string& role) {
    return "<|start_header_id|>" + role + "<|end_header_id|>\n\n";
  };
  out.system = {open("system"), "<|eot_id|>"};
  out.user = {open("user"), "<|eot_id|>"};
  out.assistant = {open("assistant"), "<|eot_id|>"};
  out.prompt = out.assistant.open;
  out.preamble = std::move(preamble);
  out.strips = true;
  out.marks = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"};
  out.digests = std::move(digests);
  return out;
}

ChatFormat zephyr() {
  ChatFormat out;
  out.name = "zephyr";
  out.system = {"<|system|>\n", "</s>\n"};
  out.user = {"<|user|>\n", "</s>\n"};
  out.assistant = {"<|assistant|>\n", "</s>"};
  out.tail = "\n";
  out.prompt = out.assistant.open;
  out.marks = {"</s>"};
  out.digests = {"66291cf0045c2425a3a667cf3cbb7af2b11f09e025c02f97245323ab79119362",
                 "4f39e3a4b9e3d369b42fd00d93a78f171914bb4e58ec84fc420433d7a153288a"};
  return out;
}

ChatFormat mistral(std::string name, std::string tail, std::vector<std::string> digests) {
  ChatFormat out;
  out.name = std::move(name);
  out.start = "<s>";
  out.user = {"[INST] ", " [/INST]"};
  out.assistant = {"", "</s>"};
  out.tail = std::move(tail);
  out.system_place = ChatFormat::System::kRefused;
  out.alternates = true;
  out.marks = {"<s>", "</s>"};
  out.digests = std::move(digests);
  return out;
}

ChatFormat gemma() {
  ChatFormat out;
  out.name = "gemma";
  out.start = "<bos>";
  out.user = {"<start_of_turn>user\n", "<end_of_turn>\n"};
  out.assistant = {"<start_of_turn>model\n", "<end_of_turn>"};
  out.tail = "\n";
  out.prompt = out.assistant.open;
  out.system_place = ChatFormat::System::kRefused;
  out.alternates = out.strips = true;
  out.marks = {"<bos>", "<start_of_turn>", "<end_of_turn>"};
  out.digests = {"ecd6ae513fe103f0eb62e8ab5bfa8d0fe45c1074fa398b089c93a7e70c15cfd6",
                 "1e51d5c0fec2f83da1953fb850b7b532b7da02d0dc35f9201e671e0b9a35a123"};
  return out;
}

const std::vector<ChatFormat>& formats() {
  static const std::vector<ChatFormat> all = {
      chatml("chatml", "",
             {"153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3",
              "fcf7a096fe99a48fd9ad2b250bf9237e96e8f48bffec1c7ea4d3f225176cd40e",
              "58c1a1f04baa7adaeaba1f90267c3d57d9396f0c1f0129bdde9e76d3c6784af7",
              "d7b5b8c7b58f7a6bf868aa46a5f73ee976d7292f40fcb9c3e7a1defd8d235cfb"}),
      chatml("smollm2", "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
             {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
              "de9cde7d1b0ca0cc87459a6673e0d12fb89c070bdb24e4a30b6e4d187b226221"}),
      chatml("qwen2", "You are a helpful assistant.",
             {"793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb",
              "f0206845c9ebc3abb4735d44f286eb81ce99238ad2accc710c6fc60e6cb8ccc8"}),
      chatml("qwen2.5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
             {"cd8e9439f0570856fd70470bf8889ebd8b5d1107207f67a5efb46e342330527f",
              "d5495a1e5db0611132a97e46a65dbb64a642a499421228b9c8b93229097fa9a4"}),
      qwen3(),
      llama2(),
      llama3("llama-3", "",
             {"ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122",
              "4f46ecd43418f216df8c26936c60e5d04bcc81db47db5d86fbe889f64212dd4c"}),
      // The date is the template's own for a reader without a clock: a text is the same every day.
      llama3("llama-3.1", "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
             {"e10ca381b1ccc5cf9db52e371f3b6651576caee0a630b452e2816b2d404d4b65",
              "5816fce10444e03c2e9ee1ef8a4a1ea61ae7e69e438613f3b17b69d0426223a4"}),
      zephyr(),
      mistral("mistral", "",
              {"6439f642d4e619817cc31f7d857831db78e40ec1b55500e84957d1e428169ed2",
               "26a59556925c987317ce5291811ba3b7f32ec4c647c400c6cc7e3a9993007ba7"}),
      mistral("mistral-v0.1", " ",
              {"7e995b379ec01747807246483647cd99030abf331653f1119e16d7ac041a3495"}),
      gemma(),
  };
  return all;
}

// As Python's str.strip: White_Space and the four separators U+001C..1F.
std::string stripped(const std::string& text) {
  const std::u32string chars = decode_utf8(text, "content");
  const auto blank = [](char32_t c) { return is_space(c) || (c >= 0x1C && c <= 0x1F); };
  size_t begin = 0, end = chars.size();
  while (begin < end && blank(chars[begin])) ++begin;
  while (end > begin && blank(chars[end - 1])) --end;
  return to_utf8(std::u32string_view(chars).substr(begin, end - begin));
}

[[noreturn]] void refuse_turn(const ChatFormat& format, size_t i, const std::string& why) {
  throw InputError("turn " + std::to_string(i + 1) + ": " + why + " (chat format " + format.name +
                   ")");
}

void check_roles(const ChatFormat& format, const std::vector<Turn>& turns) {
  const size_t first =
      format.system_place == ChatFormat::System::kInFirstUser && turns[0].role == "system" ? 1 : 0;
  for (size_t i = 0; i < turns.size(); ++i) {
    const std::string& role = turns[i].role;
    if (role != "system" && role != "user" && role != "assistant")
      refuse_turn(format, i, "expected the role system, user or assistant, found " + quote(role));
    if (role == "system" && format.system_place == ChatFormat::System::kRefused)
      refuse_turn(format, i,
                  "this format has no system turn; put the text into the user's first turn");
    if (!format.alternates || i < first) continue;
    const std::string expected = (i - first) % 2 == 0 ? "user" : "assistant";
    if (role != expected)
      refuse_turn(format, i,
                  "user and assistant must take turns; expected " + expected + ", found " + role);
  }
  if (first == turns.size()) refuse_turn(format, 0, "a system turn alone; a user's must follow");
}

class Pieces {
 public:
  void add(const std::string& text, bool is_answer = false, bool is_learnt = false) {
    if (text.empty()) return;
    const Piece piece{text, is_answer && is_learnt, is_answer && !is_learnt};
    const bool joins = !out_.empty() && out_.back().is_target == piece.is_target &&
                       out_.back().is_muted == piece.is_muted;
    if (joins) out_.back().text += text;
    else out_.push_back(piece);
  }
  std::vector<Piece> take() { return std::move(out_); }

 private:
  std::vector<Piece> out_;
};

std::string without_first_line_ends(const std::string& text) {
  return text.substr(std::min(text.find_first_not_of('\n'), text.size()));
}

std::string without_last_line_ends(const std::string& text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);
}

// An assistant's content, taken apart.
struct Thought {
  std::string thought, answer;
};

Thought thought_of(const std::string& content) {
  const std::string open = "<think>", close = "</think>";
  const size_t first = content.find(close), last = content.rfind(close);
  if (first == std::string::npos) return {"", content};
  std::string thought = content.substr(0, first);
  const size_t begin = thought.rfind(open);
  if (begin != std::string::npos) thought.erase(0, begin + open.size());
  const std::string answer = content.substr(last + close.size());
  return {without_last_line_ends(without_first_line_ends(thought)),
          without_first_line_ends(answer)};
}

bool is_tool_response(const Turn& turn) {
  return turn.content.starts_with("<tool_response>") && turn.content.ends_with("</tool_response>");
}

// From which turn on answers show their thoughts: behind the last question. The number of turns
// where there is none.
size_t first_answer_to_last_question(const std::vector<Turn>& turns) {
  for (size_t i = turns.size(); i-- > 0;) {
    if (turns[i].role == "user" && !is_tool_response(turns[i])) return i + 1;
  }
  return turns.size();
}

// What stands before an assistant's own words, and these.
struct Answer {
  std::string before, own;
};

// Answers to earlier questions lose their thoughts.
Answer thinking_answer(const ChatFormat& format, const std::string& content, bool is_to_last,
                       bool is_last_turn) {
  const auto [thought, answer] = thought_of(content);
  if (!is_to_last || (!is_last_turn && thought.empty())) return {"", answer};
  const std::string own = without_first_line_ends(answer);
  if (thought.empty()) return {format.no_thought, own};
  return {"", "<think>\n" + thought + "\n</think>\n\n" + own};
}

}  // namespace

std::vector<std::string> chat_format_names() {
  std::vector<std::string> out;
  for (const ChatFormat& format : formats()) out.push_back(format.name);
  return out;
}

const ChatFormat& chat_format(std::string_view name) {
  for (const ChatFormat& format : formats()) {
    if (format.name == name) return format;
  }
  const std::vector<std::string> names = chat_format_names();
  throw InputError("chat: expected " + joined(names, "or") + ", found " + quote(name) +
                   did_you_mean(name, names));
}

const ChatFormat& recognise_chat(std::string_view template_text, const std::string& source) {
  const std::string digest = sha256(template_text);
  for (const ChatFormat& format : formats()) {
    if (std::find(format.digests.begin(), format.digests.end(), digest) != format.digests.end())
      return format;
  }
  throw InputError(source + ": this chat template is not a known one (SHA-256 " +
                   digest.substr(0, 12) +
                   "...), and templates are not run; name the format in the task file, such as "
                   "\"chat: chatml\"; known: " +
                   joined(chat_format_names()));
}

const std::string& end_of_turn(const ChatFormat& format) {
  const auto found =
      std::find_if(format.marks.begin(), format.marks.end(),
                   [&](const std::string& mark) { return format.assistant.close.ends_with(mark); });
  ensure(found != format.marks.end(), "an assistant's turn ends in a token");
  return *found;
}

void check_chat(const ChatFormat& format, const Tokenizer& tokenizer) {
  for (const std::string& mark : format.marks) {
    if (!tokenizer.token_to_id(mark))
      throw InputError("the chat format " + format.name + " needs the token " + quote(mark) +
                       ", which this tokenizer does not have");
  }
}

std::vector<Piece> render_chat(const ChatFormat& format, const std::vector<Turn>& turns,
                               bool add_generation_prompt) {
  if (turns.empty()) throw InputError("a conversation without a turn");
  check_roles(format, turns);
  Pieces out;
  out.add(format.start);
  const std::string unasked = format.preamble + format.default_system;
  if (!unasked.empty() && turns[0].role != "system")
    out.add(format.system.open + unasked + format.system.close);
  std::string before;  // a system turn that waits for the user's
  const size_t to_last = first_answer_to_last_question(turns);
  for (size_t i = 0; i < turns.size(); ++i) {
    const Turn& turn = turns[i];
    const bool is_system = turn.role == "system";
    if (is_system && format.system_place == ChatFormat::System::kInFirstUser) {
      before = format.system.open + turn.content + format.system.close;
      continue;
    }
    const std::string whole = std::exchange(before, "") + turn.content;
    const std::string content = format.strips ? stripped(whole) : whole;
    if (turn.role == "assistant") {
      const Answer answer =
          format.no_thought.empty()
              ? Answer{"", content}
              : thinking_answer(format, content, i >= to_last, i + 1 == turns.size());
      out.add(format.assistant.open + answer.before);
      out.add(format.lead + answer.own + format.assistant.close, true, turn.is_learnt);
      out.add(format.tail);
    } else {
      const ChatFormat::Side& side = is_system ? format.system : format.user;
      const std::string preamble = is_system && i == 0 ? format.preamble : "";
      out.add(side.open + preamble + content + side.close);
    }
  }
  if (add_generation_prompt) out.add(format.prompt);
  return out.take();
}

}  // namespace graft
