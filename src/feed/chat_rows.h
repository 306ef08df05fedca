// Conversations as token ids, cut to a length by whole turns.
#pragma once

#include <cstdint>
#include <vector>

#include "text/chat.h"

namespace graft {

struct ChatTokens {
  PieceTokens tokens;
  int64_t cut_tokens = 0, cut_turns = 0;
};

// The ids of the whole conversation as the format writes it; with `asks` up to where an answer
// begins. While it is longer than max_length (0: no bound), the oldest turns go, each up to the
// next turn of the user, but those of the system and what follows the user's last turn stay: the
// result may still be too long. Throws what render_chat throws.
ChatTokens encode_chat(const ChatFormat& format, const Tokenizer& tokenizer,
                       const std::vector<Turn>& turns, bool asks, int64_t max_length);

}  // namespace graft
