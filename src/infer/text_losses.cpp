#include "infer/text_losses.h"

#include <ATen/ops/tensor.h>

#include "base/timer.h"
#include "model/language_batch.h"
#include "tensor/vocabulary_loss.h"

namespace graft {

TextLosses text_losses(const Model& model, const BoundAdapter& bound, const Dataset& data,
                       const PredictOptions& options) {
  const at::NoGradGuard no_grad;
  const Timer timer;
  TextLosses out;
  out.sums.resize(data.sequences.size());
  int64_t targets = 0;
  const auto cost = [&](int64_t row) {
    return data.sequences[static_cast<size_t>(row)].num_tokens();
  };
  int64_t done = 0;
  for (const std::vector<int64_t>& group :
       groups_of_rows(data.sequences, options.token_budget, cost)) {
    LaneInput rows{{}, bound.adapter().layout()};
    for (const int64_t row : group) {
      rows.sequences.push_back(&data.sequences[static_cast<size_t>(row)]);
      out.num_tokens += cost(row);
    }
    const LanguageBatch batch = make_language_batch(model, {rows}, pack_options(model));
    const LaneAdapter lane{&bound, {.keeps_records = options.keep_records}};
    const LaneStates states = predicting_states(model, batch, {lane}, {}).front();
    const at::Tensor index = at::tensor(group, at::kLong);
    for (const SideOutput& record : states.side.records)
      keep_record(out.records, record.name, data.size(), index, record.value);
    const at::Tensor losses =
        vocabulary_loss(states.rows, bound.weights().output_layer(model.config), batch.targets)
            .rows.to(at::kDouble);
    const double* values = losses.const_data_ptr<double>();
    for (size_t i = 0; i < batch.targets.size(); ++i)
      out.sums[static_cast<size_t>(group[static_cast<size_t>(batch.sequence[i])])] += values[i];
    targets += batch.num_targets();
    done += static_cast<int64_t>(group.size());
    if (options.progress) options.progress(done, data.size());
  }
  for (const double sum : out.sums) out.mean += sum;
  out.mean /= static_cast<double>(targets);
  out.seconds = timer.seconds();
  return out;
}

}  // namespace graft
