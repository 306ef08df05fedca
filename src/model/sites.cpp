#include "model/sites.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "base/aliases.h"
#include "base/error.h"
#include "model/families.h"

namespace graft {

namespace {

bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() == '*') {
    for (size_t taken = 0; taken <= name.size(); ++taken) {
      if (matches(pattern.substr(1), name.substr(taken))) return true;
      if (taken < name.size() && name[taken] == '.') break;
    }
    return false;
  }
  if (name.empty()) return false;
  if (pattern.front() == '[') {
    const size_t close = pattern.find(']');
    if (close == std::string_view::npos) return false;
    return pattern.substr(1, close - 1).find(name.front()) != std::string_view::npos &&
           matches(pattern.substr(close + 1), name.substr(1));
  }
  return pattern.front() == name.front() && matches(pattern.substr(1), name.substr(1));
}

// The head for masks is asked for by its name: patterns of earlier adapters did not mean it.
bool matches(std::string_view pattern, const Site& site) {
  if (site.part == Part::kMaskDense) return pattern == site.name;
  return matches(pattern, site.name) || matches(pattern, part_name(site.part));
}

// Of patterns joined by '|' the first that matches a site; the last where none does.
std::string first_matching(const std::string& joined, const std::vector<Site>& sites) {
  std::string_view left = joined;
  for (size_t bar = left.find('|'); bar != std::string_view::npos; bar = left.find('|')) {
    const std::string_view pattern = left.substr(0, bar);
    if (std::any_of(sites.begin(), sites.end(),
                    [&](const Site& site) { return matches(pattern, site); }))
      return std::string(pattern);
    left.remove_prefix(bar + 1);
  }
  return std::string(left);
}

// The parts of all blocks, once each, in order of execution.
std::vector<std::string> parts_of(const std::vector<Site>& sites) {
  std::vector<std::string> parts;
  for (const Site& site : sites) {
    if (std::find(parts.begin(), parts.end(), part_name(site.part)) == parts.end())
      parts.emplace_back(part_name(site.part));
  }
  return parts;
}

// What the user of another tool, or of half a name, may have meant by `pattern`: " (did you mean
// 'attn.q' or 'cross.q'?)".
std::string nearest_sites(const std::string& pattern, const std::vector<Site>& sites,
                          const std::vector<std::string>& parts) {
  std::vector<std::string> near;
  for (const std::string& own : own_names(pattern)) {
    if (std::any_of(sites.begin(), sites.end(),
                    [&](const Site& site) { return matches(own, site); }))
      near.push_back(own);
  }
  for (const std::string& part : parts) {
    const bool is_half =
        !pattern.empty() && (part.starts_with(pattern + ".") || part.ends_with("." + pattern));
    if (is_half && std::find(near.begin(), near.end(), part) == near.end()) near.push_back(part);
  }
  if (near.empty()) return did_you_mean(pattern, parts);
  for (std::string& name : near) name = "'" + name + "'";
  return " (did you mean " + joined(near, "or") + "?)";
}

// The numbers of `layers` for a stack of `count` layers, from 0; those that it does not have are
// left out.
std::set<int64_t> layers_within(const std::vector<int64_t>& layers, int64_t count) {
  std::set<int64_t> out;
  for (const int64_t layer : layers) {
    if (layer < count && layer >= -count) out.insert(layer < 0 ? layer + count : layer);
  }
  return out;
}

}  // namespace

Sites::Sites(const ModelConfig& c)
    : encoder_layers_(c.encoder_layers()),
      decoder_layers_(c.decoder_layers()),
      places_(c),
      index_(places_.size(), -1) {
  add(kWordTable.place, SiteKind::kEmbed, c.width, c.width);
  add({.part = Part::kEmbed}, SiteKind::kEmbed, c.width, c.width);
  for (int64_t i = 0; i < encoder_layers_; ++i) add_block(c, StackId::kEncoder, i);
  for (int64_t i = 0; i < decoder_layers_; ++i) add_block(c, StackId::kDecoder, i);
  if (has_pooler(c)) pooler_ = add(kPoolerPlace, SiteKind::kLinear, c.width, c.width);
  if (c.head_style == HeadStyle::kMaskStates)
    pooler_ = add(kMaskDensePlace, SiteKind::kLinear, c.width, c.width);
}

Site Sites::add(const Place& place, SiteKind kind, int64_t in, int64_t out) {
  index_[places_.of(place).value()] = static_cast<int32_t>(all_.size());
  all_.push_back({place, static_cast<int64_t>(all_.size()), to_name(place), kind, in, out});
  return all_.back();
}

// Order of execution: norms where the stack has them, a gated FFN's gate first.
void Sites::add_block(const ModelConfig& c, StackId stack, int64_t layer) {
  const StackConfig& s = c.stack(stack);
  const auto one = [&](Part part, SiteKind kind, int64_t in, int64_t out) {
    add({stack, static_cast<int16_t>(layer), part}, kind, in, out);
  };
  const auto linear = [&](Part part, int64_t in, int64_t out) {
    one(part, SiteKind::kLinear, in, out);
  };
  const auto wide = [&](Part part, SiteKind kind) { one(part, kind, c.width, c.width); };
  // x of an activation site is what enters its sublayer.
  const auto inner = [&](Part part, int64_t width) {
    one(part, SiteKind::kActivation, c.width, width);
  };
  const bool is_before = s.norm_place == NormPlace::kBefore;
  const auto attention = [&](const AttentionParts& own, bool has_norm) {
    if (is_before && has_norm) wide(own.norm, SiteKind::kNorm);
    linear(own.q, c.width, s.attention_width);
    linear(own.k, c.width, s.key_width());
    linear(own.v, c.width, s.key_width());
    one(own.whole, SiteKind::kAttention, c.width, s.key_width());
    inner(own.mid, s.attention_width);
    linear(own.o, s.attention_width, c.width);
    wide(own.out, SiteKind::kSublayer);
    if (!is_before) wide(own.norm, SiteKind::kNorm);
  };
  attention(kOwnAttention, s.has_attention_norm(layer));
  if (stack == StackId::kDecoder && c.has_encoder()) attention(kCrossAttention, true);
  if (is_before) wide(Part::kFfnNorm, SiteKind::kNorm);
  if (s.has_gated_ffn) {
    linear(Part::kFfnGate, c.width, s.ffn_width);
    inner(Part::kFfnAct, s.ffn_width);
    linear(Part::kFfnUp, c.width, s.ffn_width);
    inner(Part::kFfnMid, s.ffn_width);
  } else {
    linear(Part::kFfnUp, c.width, s.ffn_width);
    inner(Part::kFfnAct, s.ffn_width);
  }
  linear(Part::kFfnDown, s.ffn_width, c.width);
  wide(Part::kFfnOut, SiteKind::kSublayer);
  if (!is_before) wide(Part::kFfnNorm, SiteKind::kNorm);
  wide(Part::kOut, SiteKind::kLayer);
}

const Site* Sites::find(const Place& place) const {
  const std::optional<size_t> cell = places_.of(place);
  return cell && index_[*cell] >= 0 ? &all_[static_cast<size_t>(index_[*cell])] : nullptr;
}

const Site& Sites::at(const Place& place) const {
  const Site* site = find(place);
  if (site == nullptr) throw InternalError("the model has no site '" + to_name(place) + "'");
  return *site;
}

const Site& Sites::at(const std::string& name) const {
  const std::optional<Place> place = parse_place(name);
  if (const Site* site = place ? find(*place) : nullptr) return *site;
  std::vector<std::string> names;
  for (const Site& site : all_) names.push_back(site.name);
  throw InputError("unknown site '" + name + "'" + did_you_mean(name, names));
}

const Site& Sites::reader_of(const Site& activation) const {
  ensure(activation.kind == SiteKind::kActivation,
         "a linear layer reads what leaves an activation site");
  const Part reader = activation.part == kOwnAttention.mid     ? kOwnAttention.o
                      : activation.part == kCrossAttention.mid ? kCrossAttention.o
                                                               : Part::kFfnDown;
  return at({activation.stack, activation.layer, reader});
}

// The one before it, as they are executed.
const Site* Sites::input_of(const Site& linear) const {
  if (linear.index == 0) return nullptr;
  const Site& before = all_[static_cast<size_t>(linear.index - 1)];
  return before.kind == SiteKind::kActivation && reader_of(before).index == linear.index ? &before
                                                                                         : nullptr;
}

std::vector<Site> Sites::match(const std::vector<std::string>& patterns,
                               const std::vector<int64_t>& layers) const {
  const int64_t deepest = std::max(encoder_layers_, decoder_layers_);
  for (const int64_t layer : layers) {
    if (layer >= deepest || layer < -deepest) {
      throw InputError("layers: expected numbers in 0.." + std::to_string(deepest - 1) +
                       " (or -1 for the last), found " + std::to_string(layer));
    }
  }
  const std::set<int64_t> in_encoder = layers_within(layers, encoder_layers_),
                          in_decoder = layers_within(layers, decoder_layers_);
  if (patterns.empty()) throw InputError("expected at least one site, found an empty list");
  std::set<int64_t> chosen;
  for (const std::string& written : patterns) {
    const bool is_optional = written.ends_with('?');
    const std::string pattern =
        first_matching(written.substr(0, written.size() - (is_optional ? 1 : 0)), all_);
    size_t hits = 0, kept = 0;
    for (const Site& site : all_) {
      if (!matches(pattern, site)) continue;
      ++hits;
      if (!layers.empty() && site.layer >= 0 &&
          !(site.stack == StackId::kEncoder ? in_encoder : in_decoder).contains(site.layer))
        continue;
      ++kept;
      chosen.insert(site.index);
    }
    if (hits == 0 && is_optional) continue;
    if (hits == 0) {
      const std::vector<std::string> parts = parts_of(all_);
      throw InputError("site pattern " + quote(pattern) + " matches no site of this model" +
                       nearest_sites(pattern, all_, parts) + "; here are " + joined(parts) +
                       " (graft inspect model shows their shapes)");
    }
    if (kept == 0)
      throw InputError("site pattern " + quote(pattern) +
                       " matches no site in the layers asked for; change one of the two");
  }
  if (chosen.empty())
    throw InputError(
        "expected at least one site; none of the patterns, which all end in '?', matches one of "
        "this model");
  std::vector<Site> out;
  for (const int64_t index : chosen) out.push_back(all_[static_cast<size_t>(index)]);
  return out;
}

bool holds_decoder_rows(const Site& site, const ModelConfig& config) {
  if (!config.has_encoder()) return true;
  return site.stack == StackId::kDecoder && site.part != Part::kCrossK &&
         site.part != Part::kCrossV;
}

const char* kind_name(SiteKind kind) {
  switch (kind) {
    case SiteKind::kLinear: return "linear";
    case SiteKind::kActivation: return "activation";
    case SiteKind::kSublayer: return "sublayer";
    case SiteKind::kNorm: return "norm";
    case SiteKind::kLayer: return "layer";
    case SiteKind::kAttention: return "attention";
    case SiteKind::kEmbed: return "embed";
  }
  return "";
}

}  // namespace graft
