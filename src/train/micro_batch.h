// A run's share of one forward pass: the lanes of a micro-batch, and the loss of what they give.
//
// A step is draw -> lanes -> losses -> update. Runs whose adapters read the same weights of the
// trunk may share a pass: each gives its lanes, each takes its loss of them, and since no row of a
// trunk depends on the rows of another lane, each gets what it would get alone.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "edit/lane_results.h"
#include "model/language_batch.h"
#include "train/batches.h"
#include "train/inputs.h"

namespace graft {

// What the step's mean is over: rows; of texts target tokens, unless the objective averages rows.
double loss_units(const RunInputs& inputs, const Batch& batch);

// By the name of who draws, "0.stochastic/enc.3.attn.q down", the experts of one pass after
// another.
using DrawnExperts = std::map<std::string, std::vector<int64_t>>;

struct BatchLoss {
  at::Tensor value;         // a scalar
  DrawnExperts drawn = {};  // if the run records them
};

// With a consistency loss the rows pass twice, as two lanes that differ in key and route:
//   loss = CE(first) + consistency * summed_consistency(first, second)
class MicroBatch {
 public:
  // `key`: (seed, step, micro-batch). `units`: of the whole step, by which every sum is divided.
  // `inputs` and `bound` must outlive the backward pass.
  MicroBatch(const RunInputs& inputs, const BoundAdapter& bound, const Batch& batch, RandomKey key,
             double units);

  const std::vector<LaneInput>& lanes() const { return lanes_; }
  const std::vector<LaneAdapter>& adapters() const { return adapters_; }
  // Real tokens of the rows: a second pass over them does not count.
  int64_t tokens() const { return tokens_; }
  int64_t pass_tokens() const { return tokens_ * static_cast<int64_t>(lanes_.size()); }
  const RunInputs& inputs() const { return inputs_; }
  // Puts what is kept of its rows behind that of the lanes before its own.
  void add_kept(KnownRows& known) const;
  // Whether the two may be in one pass.
  bool can_share_pass(const MicroBatch& other) const;

  // Its share of the step's mean loss, a scalar, from what its lanes give, which are
  // [first_lane, first_lane + lanes) of the pass: from the logits of a head,
  BatchLoss loss_of(const std::vector<LaneResult>& results, size_t first_lane) const;
  // or from the states of a language model's predicting rows.
  BatchLoss loss_of(const std::vector<LaneStates>& states, const LanguageBatch& batch,
                    size_t first_lane) const;

 private:
  // `sum` over the units, and what the edits add; `lanes`: what they gave, by lane.
  BatchLoss with_edits(const at::Tensor& sum, const std::vector<const SideOutputs*>& lanes) const;

  const RunInputs& inputs_;
  const BoundAdapter& bound_;
  Batch batch_;
  double units_;
  std::vector<LaneInput> lanes_;
  std::vector<LaneAdapter> adapters_;
  int64_t tokens_ = 0;
};

// The losses of all of them, from one forward pass. Requires: the first can_share_pass with each.
std::vector<BatchLoss> losses_of(const std::vector<MicroBatch>& batches);

}  // namespace graft
