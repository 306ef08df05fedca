#include "model/sites.h"

#include <algorithm>
#include <set>

#include "base/error.h"

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
    return pattern.substr(1, close - 1).find(name.front()) != std::string_view::npos && matches(pattern.substr(close + 1), name.substr(1));
  }
  return pattern.front() == name.front() && matches(pattern.substr(1), name.substr(1));
}

}  // namespace

Sites::Sites(const ModelConfig& c) {
  const auto add = [&](const std::string& stack, int64_t layer, const std::string& part, SiteKind kind, int64_t in, int64_t out) {
    const std::string prefix = layer < 0 ? "" : stack + "." + std::to_string(layer) + ".";
    all_.push_back({static_cast<int64_t>(all_.size()), prefix + part, part, kind, layer, in, out});
    return all_.back();
  };
  add("", -1, "embed", SiteKind::kEmbed, c.width, c.width);
  for (int64_t i = 0; i < c.layers; ++i) {
    const auto linear = [&](const char* part, int64_t in, int64_t out) { return add("enc", i, part, SiteKind::kLinear, in, out); };
    const auto wide = [&](const char* part, SiteKind kind) { return add("enc", i, part, kind, c.width, c.width); };
    BlockSites block;
    block.q = linear("attn.q", c.width, c.width);
    block.k = linear("attn.k", c.width, c.width);
    block.v = linear("attn.v", c.width, c.width);
    block.attention = wide("attn", SiteKind::kAttention);
    block.o = linear("attn.o", c.width, c.width);
    block.attn_out = wide("attn.out", SiteKind::kSublayer);
    block.attn_norm = wide("attn.norm", SiteKind::kNorm);
    block.up = linear("ffn.up", c.width, c.ffn_width);
    block.act = add("enc", i, "ffn.act", SiteKind::kActivation, c.ffn_width, c.ffn_width);
    block.down = linear("ffn.down", c.ffn_width, c.width);
    block.ffn_out = wide("ffn.out", SiteKind::kSublayer);
    block.ffn_norm = wide("ffn.norm", SiteKind::kNorm);
    block.out = wide("out", SiteKind::kLayer);
    blocks_.push_back(block);
  }
}

const Site& Sites::at(const std::string& name) const {
  std::vector<std::string> names;
  for (const Site& site : all_) {
    if (site.name == name) return site;
    names.push_back(site.name);
  }
  throw InputError("unknown site '" + name + "'" + did_you_mean(name, names));
}

std::vector<Site> Sites::match(const std::vector<std::string>& patterns, const std::vector<int64_t>& layers) const {
  const auto num_layers = static_cast<int64_t>(blocks_.size());
  std::set<int64_t> wanted;
  for (const int64_t layer : layers) {
    if (layer >= num_layers || layer < -num_layers) {
      throw InputError("layers: expected numbers in 0.." + std::to_string(num_layers - 1) + " (or -1 for the last), found " + std::to_string(layer));
    }
    wanted.insert(layer < 0 ? layer + num_layers : layer);
  }
  if (patterns.empty()) throw InputError("expected at least one site, found an empty list");
  std::set<int64_t> chosen;
  for (const std::string& pattern : patterns) {
    size_t hits = 0, kept = 0;
    for (const Site& site : all_) {
      if (!matches(pattern, site.name) && !matches(pattern, site.part)) continue;
      ++hits;
      if (!wanted.empty() && site.layer >= 0 && !wanted.contains(site.layer)) continue;
      ++kept;
      chosen.insert(site.index);
    }
    if (hits == 0) {
      std::vector<std::string> parts;
      for (const Site& site : all_) parts.push_back(site.part);
      throw InputError("site pattern " + quote(pattern) + " matches no site of this model" + did_you_mean(pattern, parts));
    }
    if (kept == 0) throw InputError("site pattern " + quote(pattern) + " matches no site in the layers asked for; change one of the two");
  }
  std::vector<Site> out;
  for (const int64_t index : chosen) out.push_back(all_[static_cast<size_t>(index)]);
  return out;
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
