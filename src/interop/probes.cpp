#include "interop/probes.h"

#include <algorithm>

#include "base/random.h"
#include "edit/lanes.h"
#include "tensor/vocabulary_loss.h"

namespace graft {

std::vector<Sequence> made_up_probes(const ModelConfig& config, int64_t count, int64_t reserved) {
  constexpr int64_t kShortest = 4, kLongest = 64;
  const int64_t longest = std::max<int64_t>(1, std::min(kLongest, config.max_positions - reserved)),
                shortest = std::min(kShortest, longest);
  Random random(RandomKey{}.with("probes"));
  std::vector<Sequence> probes(static_cast<size_t>(count));
  for (Sequence& probe : probes) {
    probe.example = &probe - probes.data();
    const int64_t length =
        shortest +
        static_cast<int64_t>(random.below(static_cast<uint64_t>(longest - shortest + 1)));
    for (int64_t i = 0; i < length; ++i)
      probe.ids.push_back(
          static_cast<int64_t>(random.below(static_cast<uint64_t>(config.vocabulary))));
    if (config.end_id >= 0)
      probe.ids.back() = config.end_id;  // where encoder-decoder classifiers read
    probe.type_ids.assign(probe.ids.size(), 0);
  }
  return probes;
}

at::Tensor token_logits(const Model& model, const BoundAdapter& bound, const Sequence& read,
                        const std::vector<int64_t>& written) {
  const at::NoGradGuard no_grad;
  const RowLayout layout = bound.adapter().layout();
  const std::vector<LaneInput> lanes{LaneInput{{&read}, layout}};
  const Pack first = make_pack(lanes, pack_options(model));
  const bool is_encoder_decoder = model.config.has_encoder();
  std::optional<Pack> second;
  if (is_encoder_decoder)
    second =
        make_decoder_pack(lanes, {{.example = read.example, .ids = written}}, pack_options(model));
  const Pack& last = is_encoder_decoder ? *second : first;
  ForwardOptions options;
  options.wanted = {{is_encoder_decoder ? 0
                                        : last.sequences[0].end - last.sequences[0].begin -
                                              static_cast<int64_t>(read.ids.size()),
                     last.sequences[0].end - last.sequences[0].begin}};
  const at::Tensor states = forward_lanes(model, {is_encoder_decoder ? &first : nullptr, &last},
                                          {LaneAdapter{&bound, {}}}, options)
                                .last;
  return whole_logits(states, bound.weights().output_layer(model.config));
}

at::Tensor token_logits(const Model& model, const BoundAdapter& bound, const Sequence& probe) {
  std::vector<int64_t> written = {std::max<int64_t>(0, model.config.decoder_start_id)};
  written.insert(written.end(), probe.ids.begin(),
                 probe.ids.begin() + static_cast<std::ptrdiff_t>(probe.ids.size() / 2));
  return token_logits(model, bound, probe, written);
}

}  // namespace graft
