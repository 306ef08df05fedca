#include "infer/dataset.h"

#include <algorithm>

#include "base/error.h"

namespace graft {

Dataset encode_examples(std::vector<Example> examples, const Tokenizer& tokenizer, const ModelConfig& config, int64_t max_length) {
  Dataset data;
  data.examples = std::move(examples);
  data.sequences.reserve(data.examples.size());
  for (const Example& example : data.examples) {
    std::optional<std::string_view> second;
    if (example.second) second = *example.second;
    Encoding encoding = tokenizer.encode(example.text, second, {.add_special = true, .max_length = max_length});
    data.num_cut += encoding.is_truncated ? 1 : 0;
    const auto too_big = [](const std::vector<int64_t>& values, int64_t bound) {
      return std::any_of(values.begin(), values.end(), [bound](int64_t value) { return value >= bound; });
    };
    if (too_big(encoding.ids, config.vocabulary)) {
      throw InputError("the tokenizer gives ids beyond the model's vocabulary of " + std::to_string(config.vocabulary) + ": the two do not belong together");
    }
    if (too_big(encoding.type_ids, config.type_vocabulary)) {
      throw InputError("the tokenizer gives segment types beyond the model's " + std::to_string(config.type_vocabulary) + ": the two do not belong together");
    }
    data.num_tokens += static_cast<int64_t>(encoding.ids.size());
    data.sequences.push_back({example.id, std::move(encoding.ids), std::move(encoding.type_ids), example.embedding});
  }
  return data;
}

int64_t resolve_max_length(int64_t max_length, const ModelConfig& config, const RowLayout& layout) {
  constexpr int64_t kUsual = 512;
  const int64_t taken = layout.virtual_rows + layout.first_position, longest = config.max_positions - taken;
  const std::string beside = taken == 0 ? "" : " beside the " + std::to_string(taken) + " rows of the adapter's prompt or prefix";
  if (longest < 1) throw InputError("max_length: this model has " + std::to_string(config.max_positions) + " positions, none of them left" + beside);
  if (max_length <= 0) return std::min(kUsual, longest);
  if (max_length > longest) {
    throw InputError("max_length: this model serves at most " + std::to_string(longest) + " tokens" + beside + ", found " + std::to_string(max_length));
  }
  return max_length;
}

}  // namespace graft
