#include "infer/decoding.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "base/error.h"
#include "feed/dataset.h"
#include "tensor/vocabulary_loss.h"

namespace graft {

namespace {

using at::Tensor;

// A pass over few rows reads weights more than it computes, so it gets no more rows than it needs
// (one is computed as two anyway). Many sequences leave one by one: then each number of rows would
// make the matrix library compile kernels anew.
int64_t step_rounding(int64_t sequences) { return sequences <= 8 ? 2 : 8; }

std::vector<int64_t> for_each_prompt(const std::vector<PromptLane>& prompts, int64_t value) {
  size_t count = 0;
  for (const PromptLane& lane : prompts) count += lane.prompts.size();
  return std::vector<int64_t>(count, value);
}

}  // namespace

std::vector<int64_t> Decoding::text_of(const ModelConfig& config, const Sequence& prompt) {
  return config.has_encoder() ? std::vector<int64_t>{config.decoder_start_id} : prompt.ids;
}

std::vector<Sequence> Decoding::starts_of(const ModelConfig& config,
                                          const std::vector<LaneInput>& read) {
  std::vector<Sequence> starts;
  for (const LaneInput& lane : read) {
    for (const Sequence* prompt : lane.sequences)
      starts.push_back({.example = prompt->example,
                        .ids = text_of(config, *prompt),
                        .embedding = prompt->embedding,
                        .subspace = prompt->subspace});
  }
  return starts;
}

int64_t Decoding::room_behind(const ModelConfig& config, const RowLayout& layout,
                              const Sequence& prompt) {
  if (config.has_encoder()) return config.max_positions;  // its decoder reads the start token
  return positions_for_tokens(config, layout) - std::max<int64_t>(1, std::ssize(prompt.ids)) + 1;
}

Decoding::Decoding(const Model& model, const std::vector<PromptLane>& prompts, int64_t new_tokens)
    : Decoding(model, prompts, for_each_prompt(prompts, new_tokens)) {}

Decoding::Decoding(const Model& model, const std::vector<PromptLane>& prompts,
                   const std::vector<int64_t>& new_tokens)
    : model_(model) {
  check(prompts);
  const at::NoGradGuard no_grad;
  std::vector<LaneInput> read;
  for (const PromptLane& each : prompts) {
    lanes_.push_back(each.lane);
    read.push_back({each.prompts, each.lane.bound->adapter().layout()});
  }
  const PackOptions options = pack_options(model);
  const Pack first = make_pack(read, options);
  if (!model.config.has_encoder()) {
    check_room(first, new_tokens);
    cache_ = std::make_unique<Cache>(model.config, model.weights.dtype(), first, new_tokens);
    run({nullptr, &first}, last_token_rows(first));
    return;
  }
  const Pack decoder = make_decoder_pack(read, starts_of(model.config, read), options);
  check_room(decoder, new_tokens);
  cache_ = std::make_unique<Cache>(model.config, model.weights.dtype(), decoder, new_tokens);
  run({&first, &decoder}, last_token_rows(decoder));
}

void Decoding::check(const std::vector<PromptLane>& prompts) const {
  const ModelConfig& config = model_.config;
  if (!config.has_decoder())
    throw InputError(model_.source + ": a " + config.model_type +
                     " model is an encoder and writes no text; take a decoder");
  ensure(!config.has_encoder() || config.decoder_start_id >= 0,
         "an encoder-decoder's decoder has a start token");
  ensure(!prompts.empty(), "some prompts");
  for (const PromptLane& each : prompts) {
    ensure(each.lane.bound != nullptr && !each.prompts.empty(),
           "a lane has an adapter and a prompt");
    check_decoding(config, each.lane.bound->adapter());
    for (const Sequence* prompt : each.prompts) {
      const auto length = static_cast<int64_t>(prompt->ids.size());
      ensure(prompt->prompt_length() == length, "a prompt has no targets");
    }
    if (!can_share_pass(*each.lane.bound, *prompts.front().lane.bound))
      throw InputError(
          "an adapter that replaces weights of the model does not write beside another one: give "
          "each its own batch");
  }
}

void Decoding::check_room(const Pack& first, const std::vector<int64_t>& new_tokens) const {
  const int64_t* positions = first.positions.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < first.num_sequences(); ++n) {
    const int64_t last = first.sequences[static_cast<size_t>(n)].end - 1;
    const int64_t used = positions[last] + 1 - model_.config.position_offset,
                  left = model_.config.max_positions - used;
    const int64_t asked = new_tokens[static_cast<size_t>(n)];
    if (asked <= left) continue;
    throw InputError(
        "example " + std::to_string(first.spans->sequences[static_cast<size_t>(n)].example) +
        " takes " + std::to_string(used) + " of the " +
        std::to_string(model_.config.max_positions) + " positions that " + model_.source +
        " has, and " + std::to_string(asked + 1) + " new tokens are asked for: " +
        (left < 0 ? "shorten the prompt"
                  : "ask for at most " + std::to_string(left + 1) + ", or shorten the prompt"));
  }
}

void Decoding::run(const ModelInput& input, std::vector<RowRange> wanted) {
  const int64_t sequences = input.last().num_sequences();
  ForwardOptions options{.wanted = std::move(wanted),
                         .round_rows_to = step_rounding(sequences),
                         .cache = cache_.get()};
  const Tensor last = forward_lanes(model_, input, lanes_, options).last;  // [N and fillers, C]
  logits_ = whole_logits(last, lanes_.front().bound->weights().output_layer(model_.config))
                .slice(0, 0, sequences);  // rows in front: contiguous
}

void Decoding::select(const std::vector<int64_t>& from) {
  const at::NoGradGuard no_grad;
  cache_->select(from);
}

void Decoding::write(const std::vector<int64_t>& tokens) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<int64_t>> ids;
  for (const int64_t token : tokens) ids.push_back({token});
  PackOptions options = pack_options(model_);
  options.round_rows_to = step_rounding(num_sequences());
  const Pack next = cache_->next(ids, options);
  run({nullptr, &next}, {});
}

void warm_up(const Model& model) {
  const Adapter bare = Adapter::none({model.config, model.sites});
  const BoundAdapter bound(model, bare, {});
  const Sequence token{.ids = {0}};
  std::vector<PromptLane> prompts(1);
  prompts.front().lane.bound = &bound;
  prompts.front().prompts.push_back(&token);
  const Decoding pass(model, prompts, 0);
  model.weights.release_pages();
}

}  // namespace graft
