// What an edit promises about its change. The passes around it rely on this and know nothing else
// of the edit.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/pack.h"

namespace graft {

// What the change of a row depends on beside the row itself, in the model's last stack. Ordered
// from least to most.
enum class Reads {
  kRow,          // nothing: the last block may leave out rows that nobody reads
  kEarlierRows,  // rows of its sequence before it
  kPrompt,       // every row of its prompt
  kSequence,     // any row of its sequence: it cannot be written token by token
};

// The rows that an edit changes. Ordered from fewest to most.
enum class ActsOn { kPrompt, kEveryRow };

// How an edit acts. The later kinds are freer: several edits together have the latest of their
// kinds.
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
  // It has experts, and a route chooses among them. In training the others get no gradient.
  bool is_stochastic = false;
  // It mixes experts by shares, of which a pass may draw one instead (Context::draws_shares).
  bool mixes_by_shares = false;
  // Where records are wanted it gives some of every text (Context::keeps_records).
  bool gives_records = false;
  // The rows that it needs beside the tokens: those of a prompt, or padding as in released code.
  RowLayout layout = {};
  // How many numbers it reads of each text beside its tokens (Sequence::embedding); 0: none.
  int64_t embedding = 0;
  // It acts in a subspace of these rows, ascending, of which a text may name some
  // (Sequence::subspace). Absent: it does not ask what a text names.
  std::optional<std::vector<int64_t>> subspace = {};
};

// The traits of two edits that act together. Of their subspaces a text names rows that both have.
Traits join(const Traits& a, const Traits& b);
// The rows that both need. (Adapter refuses two prompts, and two lengths of padding.)
RowLayout join(const RowLayout& a, const RowLayout& b);

}  // namespace graft
