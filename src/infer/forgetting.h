// What a model forgets by an adapter: its loss on plain text with the adapter less that without it,
// as PEFT's method comparison measures it.
#pragma once

#include "infer/text_losses.h"

namespace graft {

// Each line of a file that is not empty is a text; one that is longer than max_length tokens (0: as
// the model serves) goes on as another. Throws InputError where the model does not write text after
// text (an encoder, an encoder-decoder), and where a file has no text of two tokens.
Dataset plain_texts(const Path& file, const ModelText& text, const ModelConfig& config,
                    int64_t max_length);

// Throws InputError where an edit would show a token of plain text those that follow it, or reads
// of a text what plain text has not: what such an adapter forgets cannot be measured.
void check_forgetting(const Adapter& adapter);

struct Forgetting {
  double before = 0, after = 0;  // mean of -log p over all tokens but each text's first, in nats
  int64_t texts = 0, tokens = 0;

  double rise() const { return after - before; }
};

// Positions of edits, which count the tokens of a prompt, count those of a text. A gate that reads
// the prompt reads the first token.
Forgetting measure_forgetting(const Model& model, const BoundAdapter& bound, const Dataset& texts,
                              int64_t token_budget = kPassBudget);

// {texts, tokens, before, after, rise}
Node to_node(const Forgetting& forgetting);

}  // namespace graft
