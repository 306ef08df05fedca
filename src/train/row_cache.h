// Which rows a run keeps of what the trunk makes of them below all that it trains.
#pragma once

#include <cstdint>

#include "edit/adapter.h"
#include "train/inputs.h"

namespace graft {

// The most that cache: auto keeps: results, logs and plans do not depend on the machine.
constexpr int64_t kAutoCacheBytes = 1'000'000'000;

struct RowCache {
  std::optional<KeptPlace> place;           // nothing where the adapter begins at the embeddings
  int64_t train_bytes = 0, eval_bytes = 0;  // 0: not kept

  int64_t bytes() const { return train_bytes + eval_bytes; }
};

// Training rows are kept where they pass more than once (over epochs, or twice in a step) and
// nothing drops out below the adapter; those of data.eval, which pass at each evaluation and at the
// end, where room is left beside them. Either all of them or none.
RowCache plan_row_cache(const RunInputs& inputs);

// Sets inputs.kept_train and kept_eval by it.
void keep_rows(RunInputs& inputs);

// Whether a trunk with these rates makes the same of a row every time.
bool drops_nothing(const DropoutRates& rates);

}  // namespace graft
