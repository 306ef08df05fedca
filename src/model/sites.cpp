#include "model/sites.h"

#include <algorithm>
#include <charconv>
#include <set>

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

bool matches(std::string_view pattern, const Site& site) { return matches(pattern, site.name) || matches(pattern, site.part); }

// Of patterns joined by '|' the first that matches a site; the last where none does.
std::string first_matching(const std::string& joined, const std::vector<Site>& sites) {
  std::string_view left = joined;
  for (size_t bar = left.find('|'); bar != std::string_view::npos; bar = left.find('|')) {
    const std::string_view pattern = left.substr(0, bar);
    if (std::any_of(sites.begin(), sites.end(), [&](const Site& site) { return matches(pattern, site); }))
      return std::string(pattern);
    left.remove_prefix(bar + 1);
  }
  return std::string(left);
}

// The parts of all blocks, once each, in order of execution.
std::vector<std::string> parts_of(const std::vector<Site>& sites) {
  std::vector<std::string> parts;
  for (const Site& site : sites) {
    if (std::find(parts.begin(), parts.end(), site.part) == parts.end()) parts.push_back(site.part);
  }
  return parts;
}

// What the user of another tool, or of half a name, may have meant by `pattern`: " (did you mean 'attn.q' or 'cross.q'?)".
std::string nearest_sites(const std::string& pattern, const std::vector<Site>& sites, const std::vector<std::string>& parts) {
  std::vector<std::string> near;
  for (const std::string& own : own_names(pattern)) {
    if (std::any_of(sites.begin(), sites.end(), [&](const Site& site) { return matches(own, site); })) near.push_back(own);
  }
  for (const std::string& part : parts) {
    const bool is_half = !pattern.empty() && (part.starts_with(pattern + ".") || part.ends_with("." + pattern));
    if (is_half && std::find(near.begin(), near.end(), part) == near.end()) near.push_back(part);
  }
  if (near.empty()) return did_you_mean(pattern, parts);
  for (std::string& name : near) name = "'" + name + "'";
  return " (did you mean " + joined(near, "or") + "?)";
}

// The numbers of `layers` for a stack of `count` layers, from 0; those that it does not have are left out.
std::set<int64_t> layers_within(const std::vector<int64_t>& layers, int64_t count) {
  std::set<int64_t> out;
  for (const int64_t layer : layers) {
    if (layer < count && layer >= -count) out.insert(layer < 0 ? layer + count : layer);
  }
  return out;
}

}  // namespace

Place place_of(std::string_view name) {
  const Place whole{"", -1, std::string(name)};
  if (!name.starts_with("enc.") && !name.starts_with("dec.")) return whole;
  const size_t end = std::min(name.find('.', 4), name.size());
  const std::string_view number = name.substr(4, end - 4);
  int64_t layer = -1;
  const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), layer);
  if (error != std::errc{} || stop != number.data() + number.size() || layer < 0) return whole;
  return {std::string(name.substr(0, 3)), layer, std::string(end < name.size() ? name.substr(end + 1) : "")};
}

Sites::Sites(const ModelConfig& c) {
  add("", -1, "embed.word", SiteKind::kEmbed, c.width, c.width);
  add("", -1, "embed", SiteKind::kEmbed, c.width, c.width);
  for (int64_t i = 0; i < c.encoder_layers(); ++i) encoder_.push_back(add_block(c, "enc", i));
  for (int64_t i = 0; i < c.decoder_layers(); ++i) decoder_.push_back(add_block(c, "dec", i));
  if (has_pooler(c)) pooler_ = add("", -1, "pooler", SiteKind::kLinear, c.width, c.width);
}

Site Sites::add(const std::string& stack, int64_t layer, const std::string& part, SiteKind kind, int64_t in, int64_t out) {
  const std::string prefix = layer < 0 ? "" : stack + "." + std::to_string(layer) + ".";
  all_.push_back({static_cast<int64_t>(all_.size()), prefix + part, part, kind, layer, in, out, stack});
  return all_.back();
}

// Order of execution: a pre-norm block takes each norm before its sublayer, a gated FFN its gate first.
BlockSites Sites::add_block(const ModelConfig& c, const std::string& stack, int64_t layer) {
  const StackConfig& s = c.stack(stack);
  const bool has_cross = stack == "dec" && c.has_encoder();
  const auto linear = [&](const std::string& part, int64_t in, int64_t out) {
    return add(stack, layer, part, SiteKind::kLinear, in, out);
  };
  const auto wide = [&](const std::string& part, SiteKind kind) { return add(stack, layer, part, kind, c.width, c.width); };
  // x of an activation site is what enters its sublayer.
  const auto inner = [&](const char* part) { return add(stack, layer, part, SiteKind::kActivation, c.width, s.ffn_width); };
  BlockSites b;
  const auto attention = [&](const std::string& name, Site& q, Site& k, Site& v, Site& whole, Site& mid, Site& o,
                             Site& out, Site& norm) {
    if (c.is_pre_norm) norm = wide(name + ".norm", SiteKind::kNorm);
    q = linear(name + ".q", c.width, s.attention_width);
    k = linear(name + ".k", c.width, s.key_width());
    v = linear(name + ".v", c.width, s.key_width());
    whole = add(stack, layer, name, SiteKind::kAttention, c.width, s.key_width());
    mid = add(stack, layer, name + ".mid", SiteKind::kActivation, c.width, s.attention_width);
    o = linear(name + ".o", s.attention_width, c.width);
    out = wide(name + ".out", SiteKind::kSublayer);
    if (!c.is_pre_norm) norm = wide(name + ".norm", SiteKind::kNorm);
  };
  attention("attn", b.q, b.k, b.v, b.attention, b.attn_mid, b.o, b.attn_out, b.attn_norm);
  if (has_cross) {
    attention("cross", b.cross_q, b.cross_k, b.cross_v, b.cross_attention, b.cross_mid, b.cross_o, b.cross_out, b.cross_norm);
  }
  if (c.is_pre_norm) b.ffn_norm = wide("ffn.norm", SiteKind::kNorm);
  if (c.has_gated_ffn) {
    b.gate = linear("ffn.gate", c.width, s.ffn_width);
    b.act = inner("ffn.act");
    b.up = linear("ffn.up", c.width, s.ffn_width);
    b.mid = inner("ffn.mid");
  } else {
    b.up = linear("ffn.up", c.width, s.ffn_width);
    b.act = inner("ffn.act");
  }
  b.down = linear("ffn.down", s.ffn_width, c.width);
  b.ffn_out = wide("ffn.out", SiteKind::kSublayer);
  if (!c.is_pre_norm) b.ffn_norm = wide("ffn.norm", SiteKind::kNorm);
  b.out = wide("out", SiteKind::kLayer);
  return b;
}

const Site& Sites::at(const std::string& name) const {
  std::vector<std::string> names;
  for (const Site& site : all_) {
    if (site.name == name) return site;
    names.push_back(site.name);
  }
  throw InputError("unknown site '" + name + "'" + did_you_mean(name, names));
}

const Site& Sites::reader_of(const Site& activation) const {
  ensure(activation.kind == SiteKind::kActivation, "a linear layer reads what leaves an activation site");
  const std::string block = activation.name.substr(0, activation.name.size() - activation.part.size());
  const std::string sublayer = activation.part.substr(0, activation.part.find('.'));
  const std::string name = block + sublayer + (sublayer == "ffn" ? ".down" : ".o");
  return *std::find_if(all_.begin() + activation.index, all_.end(), [&](const Site& site) { return site.name == name; });
}

// The one before it, as they are executed.
const Site* Sites::input_of(const Site& linear) const {
  if (linear.index == 0) return nullptr;
  const Site& before = all_[static_cast<size_t>(linear.index - 1)];
  return before.kind == SiteKind::kActivation && reader_of(before).index == linear.index ? &before : nullptr;
}

std::vector<Site> Sites::match(const std::vector<std::string>& patterns, const std::vector<int64_t>& layers) const {
  const auto encoder_layers = static_cast<int64_t>(encoder_.size()), decoder_layers = static_cast<int64_t>(decoder_.size());
  const int64_t deepest = std::max(encoder_layers, decoder_layers);
  for (const int64_t layer : layers) {
    if (layer >= deepest || layer < -deepest) {
      throw InputError("layers: expected numbers in 0.." + std::to_string(deepest - 1) + " (or -1 for the last), found " +
                       std::to_string(layer));
    }
  }
  const std::set<int64_t> in_encoder = layers_within(layers, encoder_layers), in_decoder = layers_within(layers, decoder_layers);
  if (patterns.empty()) throw InputError("expected at least one site, found an empty list");
  std::set<int64_t> chosen;
  for (const std::string& written : patterns) {
    const bool is_optional = written.ends_with('?');
    const std::string pattern = first_matching(written.substr(0, written.size() - (is_optional ? 1 : 0)), all_);
    size_t hits = 0, kept = 0;
    for (const Site& site : all_) {
      if (!matches(pattern, site)) continue;
      ++hits;
      if (!layers.empty() && site.layer >= 0 && !(site.stack == "enc" ? in_encoder : in_decoder).contains(site.layer)) continue;
      ++kept;
      chosen.insert(site.index);
    }
    if (hits == 0 && is_optional) continue;
    if (hits == 0) {
      const std::vector<std::string> parts = parts_of(all_);
      throw InputError("site pattern " + quote(pattern) + " matches no site of this model" + nearest_sites(pattern, all_, parts) +
                       "; here are " + joined(parts) + " (graft inspect model shows their shapes)");
    }
    if (kept == 0)
      throw InputError("site pattern " + quote(pattern) + " matches no site in the layers asked for; change one of the two");
  }
  if (chosen.empty())
    throw InputError("expected at least one site; none of the patterns, which all end in '?', matches one of this model");
  std::vector<Site> out;
  for (const int64_t index : chosen) out.push_back(all_[static_cast<size_t>(index)]);
  return out;
}

bool holds_decoder_rows(const Site& site, const ModelConfig& config) {
  if (!config.has_encoder()) return true;
  return site.stack == "dec" && site.part != "cross.k" && site.part != "cross.v";
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
