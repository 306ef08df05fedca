// Counted: weights in the file and packed, trained tensors, what autograd keeps of each block (by
// the edits that read its rows), logits. Measured once: the process itself, and what one block has
// in work.
#include "train/footprint.h"

#include <c10/core/ScalarType.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <map>
#include <set>

#include "model/families.h"
#include "model/sites.h"
#include "train/pass_packing.h"

namespace graft {

namespace {

// Program and libraries, as far as they are read; their heap, with that of compiled kernels.
constexpr double kProgramBytes = 77e6, kHeapBytes = 95e6;
constexpr double kLogitBytes =
    2.0 * kChunkBytes;  // a chunk of logits, and its copy while gradients are made

double count_of(const std::vector<int64_t>& shape) {
  return static_cast<double>(c10::multiply_integers(shape));
}

double item_of(Precision precision) {
  return static_cast<double>(c10::elementSize(scalar_type(precision)));
}

struct StackShape {
  StackId id;
  StackConfig config;
  double rows = 0, last_rows = 0;  // of a block; of the last one, which computes only what is read
  double encoder_rows = 0;         // that it attends to
};

std::vector<StackShape> stacks_of(const ModelConfig& config, const PlanShape& shape, bool is_text) {
  const auto tokens = static_cast<double>(shape.batch_tokens * shape.passes),
             rows = static_cast<double>(shape.batch_rows * shape.passes);
  const double targets = shape.mean_target > 0 ? shape.mean_target * rows : tokens;
  const double read = is_text ? std::min(targets + rows, tokens) : rows;
  if (!config.has_encoder()) return {{StackId::kDecoder, *config.decoder, tokens, read, 0}};
  const double rows_read = config.read_row == ReadRow::kMean ? tokens : rows;
  if (!config.has_decoder()) return {{StackId::kEncoder, *config.encoder, tokens, rows_read, 0}};
  const StackShape encoder{StackId::kEncoder, *config.encoder, tokens, tokens, 0};
  if (!is_text) return {encoder, {StackId::kDecoder, *config.decoder, tokens, rows, tokens}};
  return {encoder, {StackId::kDecoder, *config.decoder, targets, targets, tokens}};
}

// Numbers a row that autograd keeps of a block for its own sake.
double kept_by_block(const StackConfig& stack, double width, bool has_cross) {
  const auto keys = static_cast<double>(stack.key_width());
  const double sums =
      (has_cross ? 3 : 2) *
      (width + 2);  // pre-norm the residual stream, post-norm normalised rows; two numbers a row
  const double attention = static_cast<double>(stack.attention_width + stack.heads) + 2 * keys;
  const double cross = has_cross ? static_cast<double>(stack.attention_width + stack.heads) : 0;
  return sums + attention + cross +
         static_cast<double>(stack.ffn_width) * (stack.has_gated_ffn ? 2 : 1);
}

// Rows of the encoder are kept once for all blocks.
bool reads_encoder(Part part) { return part == Part::kCrossK || part == Part::kCrossV; }

// What may be kept of a site.
enum class Kept { kRead, kScaled, kRouted, kCode };

// Numbers a row that autograd keeps for trained tensors: rows that a weight's gradient is made of,
// narrow codes, rows that are scaled.
class KeptByEdits {
 public:
  // `widening`: how many numbers of the trunk's type one of float32 takes.
  KeptByEdits(const Adapter& adapter, const ModelConfig& config, double widening)
      : sites_(config), widening_(widening) {
    for (const Adapter::Part& part : adapter.parts()) {
      if (part.spec().traits.acts == Acts::kReplacesWeights) add_rewritten(part.spec());
      else add_edit(part.spec());
    }
  }

  bool trains(StackId stack, int64_t layer) const { return lowest_ <= std::pair{stack, layer}; }
  double in_block(StackId stack, int64_t layer) const {
    double sum = 0;
    const auto found = kept_.find({stack, layer});
    if (found != kept_.end())
      for (const auto& [what, numbers] : found->second) sum += numbers;
    return sum;
  }
  double at_pooler() const { return in_block(StackId::kNone, -1); }  // by row that the head reads

 private:
  double& kept(const Site& site, Part part, Kept what) {
    return kept_[{site.stack, site.layer}][{part, what}];
  }
  void keep_for_backward(const Site& site, Part part, double numbers) {
    double& own = kept(site, part, Kept::kRead);
    own = std::max(own, numbers);
  }

  // Below the layer under a classifier nothing is differentiated for it.
  void mark_lowest(const Site& site) {
    if (!is_under_classifier(site.part)) mark_lowest(site.stack, site.layer);
  }
  // What belongs to no stack stands under the encoder, whose blocks come before those of the
  // decoder.
  void mark_lowest(StackId stack, int64_t layer) {
    lowest_ = std::min(lowest_,
                       std::pair{std::max(stack, StackId::kEncoder), std::max<int64_t>(0, layer)});
  }

  void add_rewritten(const EditSpec& spec) {
    for (const ParamSpec& param : spec.params) {
      const Place& at = param.replaces.value().place;
      if (at.layer >= 0 || is_embedding(at)) mark_lowest(at.stack, at.layer);
      if (param.replaces->kind != TensorKind::kWeight || param.shape.size() != 2) continue;
      if (const Site* site = sites_.find(at))
        keep_for_backward(*site, first_reader(site->part), read_width(*site));
    }
  }

  static double read_width(const Site& site) {
    return reads_encoder(site.part) ? 0 : static_cast<double>(site.input_width);
  }

  void add_edit(const EditSpec& spec) {
    for (const Site& site : spec.sites) mark_lowest(site);
    for (const ParamSpec& param : spec.params) {
      if (!param.site || param.role != Role::kTrained) continue;
      const Site& site = sites_.at(*param.site);
      if (site.kind == SiteKind::kAttention || site.kind == SiteKind::kEmbed) continue;
      // Of the members of a stochastic mixture one is drawn.
      if (param.expert.value_or(0) != 0) continue;
      if (param.cost) {
        kept(site, site.part, Kept::kCode) += param.cost->kept;
        if (param.cost->keeps_input)
          keep_for_backward(site, first_reader(site.part), read_width(site));
        continue;
      }
      // The gradient of a factor reads what it scaled; mixed by token, the factor's reads it, too.
      if (param.effect == Effect::kScalesY) {
        const bool is_mixed = param.shape.size() > 1;
        kept(site, site.part, Kept::kScaled) +=
            static_cast<double>(site.output_width) * (is_mixed ? 2 : 1);
        continue;
      }
      if (param.shape.size() < 2) continue;
      const bool reads_x = site.kind == SiteKind::kLinear;
      const bool is_routing = param.use == ParamUse::kRouter &&
                              widening_ > 1;  // routers read a float32 copy of the rows
      if (is_routing)
        kept(site, site.part, Kept::kRouted) +=
            static_cast<double>(param.shape.front()) * widening_;
      if (reads_x) keep_for_backward(site, first_reader(site.part), read_width(site));
      else keep_for_backward(site, site.part, static_cast<double>(site.output_width));
      const double widest =
          static_cast<double>(*std::max_element(param.shape.begin(), param.shape.end()));
      kept(site, site.part, Kept::kCode) +=
          std::min(count_of(param.shape) / widest, widest) * (param.shape.size() > 2 ? 2 : 1);
    }
  }

  Sites sites_;
  double widening_;
  std::map<std::pair<StackId, int64_t>, std::map<std::pair<Part, Kept>, double>> kept_;
  std::pair<StackId, int64_t> lowest_{StackId::kDecoder, INT64_MAX};
};

// Weights of the trunk: pages of the file, and copies on the heap.
struct WeightBytes {
  double file = 0, heap = 0;
};

WeightBytes frozen_bytes(const ModelConfig& config, const PlanShape& shape, bool is_text,
                         bool rewrites) {
  const double item = item_of(shape.precision);
  const bool is_converted = shape.is_mapped && shape.stored_item != item;
  WeightBytes out;
  for (const TensorSlot& slot : tensor_slots(config)) {
    const double count = count_of(slot.shape);
    const bool is_output = is_text && config.has_tied_output && slot.id == kWordTable;
    const bool is_linear = slot.shape.size() == 2 && (!is_embedding(slot.id.place) || is_output) &&
                           slot.id.place.part != Part::kDistance;
    const bool is_turned =
        slot.shape.size() == 2 && is_stored_transposed(family_of(config), slot.id);
    if (!shape.is_mapped) out.heap += count * item;
    else if (is_turned) out.heap += count * shape.stored_item;
    else if (!rewrites && (!is_linear || !is_converted))
      out.file += count * shape.stored_item;  // a copy's original is not read again
    if (!is_linear || rewrites) continue;
    out.heap += count * item * (is_converted ? 2 : 1);
  }
  return out;
}

// What a step has in memory beside weights and optimizer: rows kept for backward, rows in work, and
// logits.
double step_bytes(const Adapter& adapter, const ModelConfig& config, const PlanShape& shape,
                  bool is_text) {
  const double item = item_of(shape.precision);
  const KeptByEdits edits(adapter, config, std::max(1.0, 4 / item));
  const auto width = static_cast<double>(config.width);
  double kept = 0, largest_block = 0, most_working = 0;
  for (const StackShape& stack : stacks_of(config, shape, is_text)) {
    const bool has_cross = stack.encoder_rows > 0;
    const double working = 2 * width + 2 * static_cast<double>(stack.config.ffn_width) *
                                           (stack.config.has_gated_ffn ? 1.5 : 1);
    most_working = std::max(most_working, stack.rows * working);  // of a block
    for (int64_t layer = 0; layer < stack.config.layers; ++layer) {
      if (!edits.trains(stack.id, layer)) continue;
      const double rows = layer + 1 == stack.config.layers ? stack.last_rows : stack.rows;
      const double cross =
          has_cross ? stack.encoder_rows * 2 * static_cast<double>(stack.config.key_width()) : 0;
      const double block =
          rows * (kept_by_block(stack.config, width, has_cross) + edits.in_block(stack.id, layer)) +
          cross;
      largest_block = std::max(largest_block, block);
      kept += shape.saves_memory ? stack.rows * width : block;
    }
  }
  if (shape.saves_memory) kept += largest_block;
  kept += static_cast<double>(shape.batch_rows * shape.passes) * edits.at_pooler();
  return item * (kept + most_working) + (is_text ? kLogitBytes : 0);
}

}  // namespace

Footprint footprint_of(const Adapter& adapter, const ModelConfig& config, const PlanShape& shape) {
  const bool is_text = config.has_decoder() && adapter.head() == nullptr;
  const bool rewrites = adapter.rewrites_trunk();
  double trained = 0, standing = 0, word_table = 0, output_table = 0;
  const TensorId output = config.has_tied_output ? kWordTable : kOutputTable;
  for (const ParamSpec& param : adapter.params()) {
    (param.role == Role::kTrained ? trained : standing) += count_of(param.shape);
    if (param.replaces == kWordTable) word_table = count_of(param.shape);
    if (is_text && param.replaces == output)
      output_table = count_of(param.shape);  // its gradient is made with the loss
  }
  const bool trains_much = rewrites && trained > 0.5 * count_of({config.vocabulary, config.width});
  const WeightBytes weights = frozen_bytes(config, shape, is_text, trains_much);
  // Values and two moments stay; gradients grow while kept rows are freed. A word table's come from
  // both of its ends.
  const double ends = is_text && config.has_tied_output ? 3 : 1;
  const double gradients = trained * 4 + word_table * 4 * ends;
  const double casts =
      item_of(shape.precision) < 4 ? (trained + standing) * item_of(shape.precision) : 0;
  const double step = step_bytes(adapter, config, shape, is_text);
  const double values = trained * 12 + standing * 4;
  Footprint out;
  out.trunk = static_cast<int64_t>(kProgramBytes + kHeapBytes + weights.file + weights.heap);
  out.own = static_cast<int64_t>(trains_much ? values : values + gradients + casts);
  out.rows = shape.kept_bytes;
  out.step = static_cast<int64_t>(
      trains_much ? std::max(step + casts + output_table * 4, gradients + 0.3 * step) : step);
  out.pass_tokens = shape.batch_tokens * shape.passes;
  out.shares_pass = !rewrites;
  return out;
}

int64_t peak_bytes_together(const std::vector<Footprint>& runs, int64_t most_tokens) {
  struct Pass {
    int64_t tokens = 0, bytes = 0;
    bool is_shared = false;
  };
  std::vector<Pass> passes;
  int64_t trunk = 0, own = 0, step = 0;
  for (const Footprint& run : runs) {
    trunk = std::max(trunk, run.trunk);
    own += run.own + run.rows;
    const auto can_share = [&](const Pass& other) { return run.shares_pass && other.is_shared; };
    Pass& pass = pass_for(passes, run.pass_tokens, most_tokens, can_share);
    pass.is_shared = run.shares_pass;
    pass.bytes += run.step;
    step = std::max(step, pass.bytes);
  }
  return trunk + own + step;
}

}  // namespace graft
