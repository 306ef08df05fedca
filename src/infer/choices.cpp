#include "infer/choices.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/timer.h"
#include "edit/lanes.h"
#include "model/cache.h"
#include "model/language_batch.h"
#include "tensor/vocabulary_loss.h"

namespace graft {

namespace {

using at::Tensor;
using Ids = std::vector<int64_t>;

// Rows that pass together, their options one after the other.
struct Group {
  std::vector<int64_t> rows;
  std::vector<int64_t> source;  // [options of all rows]: the row, counted in the group
  std::vector<const Ids*> options;
};

Group group_of(const Dataset& data, const std::vector<int64_t>& rows) {
  Group group{rows, {}, {}};
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const Ids& option : data.options[static_cast<size_t>(rows[i])]) {
      group.source.push_back(static_cast<int64_t>(i));
      group.options.push_back(&option);
    }
  }
  return group;
}

std::vector<LaneAdapter> lane_of(const BoundAdapter& bound) { return {LaneAdapter{&bound, {}}}; }

// -log p of every token of every option, end to end.
Tensor option_losses(const Model& model, const BoundAdapter& bound, const Tensor& states,
                     const Group& group) {
  Ids targets;
  for (const Ids* option : group.options)
    targets.insert(targets.end(), option->begin(), option->end());
  return vocabulary_loss(states, bound.weights().output_layer(model.config), targets).rows;
}

// A decoder-only model: the prompts fill a cache, then each option follows a copy of its
// prompt. The state of a prompt's last token predicts the first token of each of its options, so
// the last row of an option is not read.
Tensor losses_after_prompts(const Model& model, const BoundAdapter& bound, const LaneInput& prompts,
                            const Group& group) {
  const Pack pack = make_pack({prompts}, pack_options(model));
  Ids room(prompts.sequences.size(), 0);  // for the longest of a row's own options
  for (size_t i = 0; i < group.options.size(); ++i) {
    int64_t& own = room[static_cast<size_t>(group.source[i])];
    own = std::max(own, static_cast<int64_t>(group.options[i]->size()));
  }
  Cache cache(model.config, model.weights.dtype(), pack, room);
  ForwardOptions options;
  options.cache = &cache;
  options.wanted = last_token_rows(pack);
  const Tensor last =
      forward_lanes(model, {nullptr, &pack}, lane_of(bound), options).last;  // [rows, C]
  cache.select(group.source);
  std::vector<Ids> next;
  for (const Ids* option : group.options) next.push_back(*option);
  const Pack step = cache.next(next, pack_options(model));
  ForwardOptions after;
  after.cache = &cache;
  const Tensor states = forward_lanes(model, {nullptr, &step}, lane_of(bound), after).last;
  Ids index;  // into [last; states]
  for (size_t i = 0; i < group.options.size(); ++i) {
    index.push_back(group.source[i]);
    for (int64_t row = step.sequences[i].begin; row + 1 < step.sequences[i].end; ++row)
      index.push_back(last.size(0) + row);
  }
  return option_losses(
      model, bound, at::cat({last, states}).index_select(0, at::tensor(index, at::kLong)), group);
}

// In an encoder-decoder, whose states all options of a row read.
Tensor encoder_decoder_losses(const Model& model, const BoundAdapter& bound,
                              const LaneInput& prompts, const Group& group) {
  const Pack encoder = make_pack({prompts}, pack_options(model));
  std::vector<Sequence> read;
  for (size_t i = 0; i < group.options.size(); ++i) {
    const Sequence& prompt = *prompts.sequences[static_cast<size_t>(group.source[i])];
    read.push_back(decoder_sequence(prompt, *group.options[i], model.config.decoder_start_id));
  }
  LaneInput beside;
  for (const Sequence& sequence : read) beside.sequences.push_back(&sequence);
  Pack decoder = make_pack({beside}, pack_options(model));
  decoder.sources = group.source;
  const Tensor states = forward_lanes(model, {&encoder, &decoder}, lane_of(bound), {}).last;
  return option_losses(model, bound, states.slice(0, 0, decoder.sequences.back().end), group);
}

}  // namespace

Choices choose(const Model& model, const BoundAdapter& bound, const Task& task, const Dataset& data,
               const PredictOptions& options) {
  ensure(task.kind() == TaskKind::kChoice && data.options.size() == data.sequences.size(),
         "a data set of a choice");
  const at::NoGradGuard no_grad;
  const Timer timer;
  Choices out;
  out.scores.resize(data.sequences.size());
  out.chosen.resize(data.sequences.size());
  double right_sum = 0, right_tokens = 0;
  const auto cost = [&](int64_t row) {
    int64_t tokens = data.sequences[static_cast<size_t>(row)].num_tokens();
    for (const Ids& option : data.options[static_cast<size_t>(row)])
      tokens += static_cast<int64_t>(option.size());
    return tokens;
  };
  int64_t done = 0;
  for (const std::vector<int64_t>& together :
       groups_of_rows(data.sequences, options.token_budget, cost)) {
    const Group group = group_of(data, together);
    for (const int64_t row : together) out.num_tokens += cost(row);
    LaneInput prompts{{}, bound.adapter().layout()};
    for (const int64_t row : group.rows)
      prompts.sequences.push_back(&data.sequences[static_cast<size_t>(row)]);
    const Tensor losses =
        (model.config.has_encoder() ? encoder_decoder_losses(model, bound, prompts, group)
                                    : losses_after_prompts(model, bound, prompts, group))
            .to(at::kDouble);
    int64_t token = 0;
    for (size_t i = 0; i < group.options.size(); ++i) {
      const auto row = static_cast<size_t>(group.rows[static_cast<size_t>(group.source[i])]);
      const auto count = static_cast<int64_t>(group.options[i]->size());
      const double loss = losses.slice(0, token, token + count).sum().item<double>();
      token += count;
      const std::optional<double>& label = data.examples[row].label;
      if (!label) right_sum = std::nan("");
      else if (static_cast<size_t>(*label) == out.scores[row].size())
        right_sum += loss, right_tokens += static_cast<double>(count);
      out.scores[row].push_back(task.at<Choice>().score == OptionScore::kMean
                                    ? -loss / static_cast<double>(count)
                                    : -loss);
    }
    done += static_cast<int64_t>(together.size());
    if (options.progress) options.progress(done, data.size());
  }
  for (size_t row = 0; row < out.scores.size(); ++row)
    out.chosen[row] =
        std::max_element(out.scores[row].begin(), out.scores[row].end()) - out.scores[row].begin();
  out.loss = right_sum / right_tokens;
  out.seconds = timer.seconds();
  return out;
}

}  // namespace graft
