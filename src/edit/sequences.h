// Sums over the sequences of a lane: means over the rows of a sequence, and values of a sequence
// spread over its rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "model/cache.h"
#include "model/hooks.h"
#include "tensor/pooled_gate.h"

namespace graft {

// Which rows of a sequence count: its tokens; all rows, also those of a prompt and of padding; or
// the tokens of its prompt, at least the first. Fillers never count. A view of the last block may
// hold only the rows whose output is read (of a classifier one a text, which may be a prompt's
// row); others are not there to be counted.
enum class RowsCounted { kTokens, kAll, kPromptTokens };

// The rows of each sequence of the view's lane, and which of them count.
std::shared_ptr<const RowGroups> sequence_groups(const SiteView& view, RowsCounted counted);

// [T] int64: the sequence of each row of the view, counted from the lane's first; N for rows that
// do not count. `counts`, if not null, gets the rows of each sequence that do, and 1 where none
// does.
at::Tensor sequence_index(const SiteView& view, RowsCounted counted,
                          std::vector<double>* counts = nullptr);

// values: [T, K] of the view's rows -> [N, K], the mean over each sequence's rows; zero where none
// counts. Differentiable.
at::Tensor mean_by_sequence(const SiteView& view, const at::Tensor& values,
                            RowsCounted counted = RowsCounted::kTokens);

// by_sequence: [N, K] -> [T, K]; zero at rows of no sequence. Differentiable.
at::Tensor spread_to_rows(const SiteView& view, const at::Tensor& by_sequence);

// [T, K] float32: 1 where row k of a subspace of `rows` rows, K, acts for the text of the view's
// row, else 0. Undefined where no text of the lane names any: all act. Throws InputError where one
// names a row that is not there.
at::Tensor acting_rows(const SiteView& view, int64_t rows);

// Of values [T, K] those of tokens, as a record "<name>.tokens" [R, 2 + K]: the sequence of the
// lane and the token in it, then its values.
SideOutput token_record(const SiteView& view, const std::string& name, const at::Tensor& values);

// values: [T, K] -> [T, K], the mean over the tokens of the row's sequence up to this row. A row
// before all tokens keeps its own values; a row of no sequence gets zero. Differentiable. If there
// is a `memory`, it keeps the sums and counts under `key` (uses 0 and 1), and the next pass of the
// sequences continues from them.
at::Tensor running_mean(const SiteView& view, const at::Tensor& values, Memory* memory = nullptr,
                        MemoryKey key = {});

}  // namespace graft
