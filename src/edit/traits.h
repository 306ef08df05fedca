// What an edit promises about its change, so that the passes around it may rely on it without
// knowing the edit.
#pragma once

#include "model/pack.h"

namespace graft {

// What a row's change depends on beside the row itself, in the model's last stack. From least to
// most.
enum class Reads {
  kRow,          // nothing: the last block may leave out rows that nobody reads
  kEarlierRows,  // rows of its sequence before it
  kPrompt,       // every row of its prompt
  kSequence,     // any row of its sequence: it cannot be written token by token
};

// The rows that an edit changes. From fewest to most.
enum class ActsOn { kPrompt, kEveryRow };

// How an edit acts. What stands behind acts more loosely: of several edits together the last of
// their kinds holds.
enum class Acts {
  kReplacesWeights,  // through `rewrite` in every step, never through `change`
  kFoldable,         // through `change`, and `rewrite` gives weights that compute the same
  kInForward,        // through `change` or `prefix` alone
};

struct Traits {
  Reads reads = Reads::kRow;
  ActsOn acts_on = ActsOn::kEveryRow;
  Acts acts = Acts::kInForward;
  // The adapted trunk equals the bare one, bit for bit, at initial values.
  bool identity_at_init = false;
  // Has experts that a route chooses from; in training those that it leaves out get no gradient.
  bool is_stochastic = false;
  // Rows that it needs beside the tokens: those of a prompt, or padding as released code had it.
  RowLayout layout = {};
};

// What holds of two edits that act together.
Traits join(const Traits& a, const Traits& b);
// The rows that both need. (Two prompts, or two lengths of padding, are refused before: see
// Adapter.)
RowLayout join(const RowLayout& a, const RowLayout& b);

}  // namespace graft
