#include "model/classified.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "base/error.h"

namespace graft {

namespace {

// The tokens of sequence n, with the row of each among those of the sequence.
struct Tokens {
  std::vector<int64_t> ids, rows;
};

Tokens tokens_of(const Pack& pack, int64_t n) {
  const int64_t* ids = pack.ids.const_data_ptr<int64_t>();
  const auto sequence = static_cast<size_t>(n);
  Tokens out;
  for (int64_t row = pack.sequences[sequence].begin; row < pack.sequences[sequence].end; ++row) {
    if (pack.token[static_cast<size_t>(row)] < 0) continue;
    out.ids.push_back(ids[row]);
    out.rows.push_back(row - pack.sequences[sequence].begin);
  }
  return out;
}

// Index of the last token that is no padding; of a text of nothing else the first.
size_t last_token(const Tokens& tokens, const ModelConfig& config) {
  size_t at = tokens.ids.size() - 1;
  while (config.has_pad_id && at > 0 && tokens.ids[at] == config.pad_id) --at;
  return at;
}

size_t last_end(const Tokens& tokens, const ModelConfig& config, int64_t example) {
  for (size_t at = tokens.ids.size(); at > 0; --at) {
    if (config.end_id >= 0 && tokens.ids[at - 1] == config.end_id) return at - 1;
  }
  if (config.end_id < 0) {
    throw InputError("a classifier on a " + config.model_type +
                     " model reads where the text ends: config.json must name one eos_token_id");
  }
  throw InputError("example " + std::to_string(example) + " has no end token (id " +
                   std::to_string(config.end_id) + "), where a classifier on a " +
                   config.model_type + " model reads: its tokenizer must end every text with one");
}

// What a decoder reads of the texts that its encoder reads.
Pack decoder_pack(const Model& model, const Pack& texts) {
  std::vector<Sequence> behind;
  for (int64_t n = 0; n < texts.num_sequences(); ++n) {
    Sequence& own = behind.emplace_back();
    own.example = texts.spans->sequences[static_cast<size_t>(n)].example;
    own.ids = tokens_of(texts, n).ids;
    own.ids.insert(own.ids.begin(), model.config.decoder_start_id);
    own.ids.pop_back();
  }
  std::vector<LaneInput> lanes;
  for (const LaneRows& lane : texts.lanes) {
    LaneInput& own = lanes.emplace_back(
        LaneInput{.key = lane.key, .dropout = lane.dropout, .ends_run = lane.ends_run});
    for (int64_t n = lane.first_sequence; n < lane.first_sequence + lane.num_sequences; ++n)
      own.sequences.push_back(&behind[static_cast<size_t>(n)]);
  }
  Pack pack = make_pack(lanes, pack_options(model));
  for (int64_t n = 0; n < texts.num_sequences(); ++n) pack.sources.push_back(n);
  pack.embedding = texts.embedding;
  pack.subspaces = texts.subspaces;
  return pack;
}

}  // namespace

ModelInput ClassifiedPack::input(const ModelConfig& config) const {
  return decoder ? ModelInput{texts, &*decoder} : input_of(config, *texts);
}

ClassifiedPack classified_pack(const Model& model, const Pack& texts) {
  const ModelConfig& config = model.config;
  ClassifiedPack out{.texts = &texts, .decoder = {}, .wanted = {}, .reads_mean = false};
  for (int64_t n = 0; n < texts.num_sequences(); ++n) {
    const auto sequence = static_cast<size_t>(n);
    const int64_t mask_row = texts.mask_rows[sequence];
    const ReadRow read = mask_row < 0 ? config.read_row : ReadRow::kMask;
    out.reads_mean = read == ReadRow::kMean;
    int64_t row = std::max<int64_t>(mask_row, 0);
    if (read == ReadRow::kLastToken) {
      const Tokens tokens = tokens_of(texts, n);
      row = tokens.rows[last_token(tokens, config)];
    }
    if (read == ReadRow::kLastEnd)  // a decoder has rows of tokens alone
      row = static_cast<int64_t>(
          last_end(tokens_of(texts, n), config, texts.spans->sequences[sequence].example));
    out.wanted.push_back({row, row + 1});
  }
  if (config.is_encoder_decoder()) out.decoder = decoder_pack(model, texts);
  return out;
}

at::Tensor sequence_means(const Pack& pack, const at::Tensor& states) {
  const int64_t count = pack.num_sequences();
  std::vector<int64_t> index(static_cast<size_t>(pack.num_rows), count);
  std::vector<double> counts;
  for (int64_t n = 0; n < count; ++n) {
    const Spans::Span& span = pack.spans->sequences[static_cast<size_t>(n)];
    std::fill(index.begin() + span.key_begin, index.begin() + span.key_end, n);
    counts.push_back(static_cast<double>(span.key_end - span.key_begin));
  }
  const auto dtype = states.scalar_type() == at::kBFloat16 ? at::kFloat : states.scalar_type();
  const at::Tensor sums = at::zeros({count + 1, states.size(1)}, states.options().dtype(dtype))
                              .index_add(0, at::tensor(index, at::kLong), states.to(dtype));
  const at::Tensor divisors = at::tensor(counts, at::kDouble).to(dtype).unsqueeze(1);
  return (sums.narrow(0, 0, count) / divisors).to(states.scalar_type());  // [N, C]
}

}  // namespace graft
