#include "tests/contract/compositions.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/random.h"
#include "edit/registry.h"

namespace graft::testing {

namespace {

constexpr uint64_t kSeed = 20'240'607;
constexpr size_t kCompositions = 36;
constexpr int64_t kMembers = 2, kExperts = 3;  // of a stochastic mixture, of a router

// Trained numbers by bank, and what a gate or router around the edit reads:
// the widths of its sites' inputs, summed, and their number.
struct Counts {
  std::map<std::string, int64_t> banks;
  int64_t gate_widths = 0, router_widths = 0, sites = 0;

  int64_t total() const {
    int64_t sum = 0;
    for (const auto& [bank, count] : banks) sum += count;
    return sum;
  }
};

struct Leaf {
  const char *kind, *definition;
  Counts (*counts)(const ModelConfig&);
};

Counts at_layers(int64_t layers, std::map<std::string, int64_t> banks, int64_t gate_width,
                 int64_t router_width, int64_t sites = 1) {
  for (auto& [bank, count] : banks) count *= layers;
  return {banks, layers * gate_width, layers * router_width, layers * sites};
}

int64_t all_layers(const ModelConfig& c) { return c.all_layers(); }
int64_t prompt_layers(const ModelConfig& c) {
  return c.has_encoder() ? c.encoder_layers() : c.decoder_layers();
}

const Leaf kLeaves[] = {
    {"lora", "{lora: {rank: 2, alpha: 4}}",
     [](const ModelConfig& c) {
       return at_layers(
           all_layers(c),
           {{"down", 4 * c.width}, {"up", 2 * (c.last().attention_width + c.last().key_width())}},
           2 * c.width, 2 * c.width, 2);
     }},
    {"lora", "{lora: {sites: [ffn.up], rank: 3, alpha: 3, dropout: 0.2}}",
     [](const ModelConfig& c) {
       return at_layers(all_layers(c), {{"down", 3 * c.width}, {"up", 3 * c.last().ffn_width}},
                        c.width, c.width);
     }},
    {"affine", "{affine: {sites: [ffn.act]}}",
     [](const ModelConfig& c) {
       return at_layers(all_layers(c), {{"", c.last().ffn_width}}, c.last().ffn_width,
                        c.last().ffn_width);
     }},
    {"affine", "{affine: {sites: [attn.k], scale: true}}",
     [](const ModelConfig& c) {
       return at_layers(all_layers(c), {{"", c.last().key_width()}}, c.last().key_width(),
                        c.last().head_width());
     }},
    {"affine", "{affine: {sites: [ffn.out], shift: true}}",
     [](const ModelConfig& c) {
       return at_layers(all_layers(c), {{"", 2 * c.width}}, c.width, c.width);
     }},
    {"bottleneck",
     "{bottleneck: {sites: [ffn.out], width: 3, activation: relu, placement: pfeiffer}}",
     [](const ModelConfig& c) {
       return at_layers(all_layers(c), {{"down", 3 * c.width + 3}, {"up", 4 * c.width}}, c.width,
                        c.width);
     }},
    {"bottleneck",
     "{bottleneck: {sites: [ffn.down], width: 2, activation: gelu, placement: sequential}}",
     [](const ModelConfig& c) {
       return at_layers(all_layers(c), {{"down", 2 * c.width + 2}, {"up", 3 * c.width}}, c.width,
                        c.width);
     }},
    {"reft", "{reft: {positions: f2, rank: 2}}",
     [](const ModelConfig& c) {
       return at_layers(prompt_layers(c), {{"", 4 * c.width + 2}}, c.width, c.width);
     }},
    {"reft", "{reft: {positions: all, rank: 1, rotation: false}}",
     [](const ModelConfig& c) {
       return at_layers(prompt_layers(c), {{"", 2 * c.width + 1}}, c.width, c.width);
     }},
    {"prefix", "{prefix: {length: 2, mlp: 0}}",
     [](const ModelConfig& c) {
       return at_layers(all_layers(c), {{"", 4 * c.last().key_width()}}, c.width, c.width);
     }},
    {"vera", "{vera: {sites: [attn.q], rank: 2}}",
     [](const ModelConfig& c) {
       return at_layers(all_layers(c), {{"down", 2}, {"up", c.last().attention_width}}, c.width,
                        c.width);
     }},
    {"dora", "{dora: {sites: [attn.v], rank: 1, alpha: 2}}",
     [](const ModelConfig& c) {
       return at_layers(all_layers(c), {{"", c.width + 2 * c.last().key_width()}}, c.width,
                        c.width);
     }},
};

// A drawn edit: a leaf inside combinators, innermost first.
struct Drawn {
  const Leaf* leaf = nullptr;
  std::vector<std::string> around;

  std::string definition() const {
    std::string out = leaf->definition;
    for (const std::string& combinator : around) {
      if (combinator == "gate") out = "{gate: {}, of: " + out + "}";
      if (combinator == "stochastic")
        out = "{stochastic: {experts: " + std::to_string(kMembers) + "}, of: " + out + "}";
      if (combinator == "router")
        out = "{router: {experts: " + std::to_string(kExperts) + "}, of: " + out + "}";
    }
    return out;
  }

  // A gate has a weight per input column and a bias at each site. A mixture keeps one bank "up" and
  // kMembers of all others. A router stacks everything and has a column per expert; only vectors
  // right inside it are routed per head.
  int64_t trained(const ModelConfig& config) const {
    Counts counts = leaf->counts(config);
    for (size_t i = 0; i < around.size(); ++i) {
      if (around[i] == "gate") {
        counts.banks["gate"] += counts.gate_widths + counts.sites;
      } else if (around[i] == "stochastic") {
        int64_t sum = 0;
        for (const auto& [bank, count] : counts.banks)
          sum += bank == "up" ? count : kMembers * count;
        counts.banks = {{"", sum}};
      } else {
        counts.banks = {{"", kExperts * (counts.total() +
                                         (i == 0 ? counts.router_widths : counts.gate_widths))}};
      }
    }
    return counts.total();
  }
};

bool may_stand(const std::string& combinator, const Drawn& drawn) {
  if (composition_fault(combinator, drawn.leaf->kind)) return false;
  for (const std::string& inner : drawn.around) {
    if (composition_fault(combinator, inner)) return false;
  }
  return true;
}

Drawn draw(Random& random) {
  Drawn drawn{&kLeaves[random.below(std::size(kLeaves))], {}};
  const std::vector<std::string> combinators = known_combinators();
  for (uint64_t depth = random.below(3); depth > 0; --depth) {
    const std::string& combinator = combinators[random.below(combinators.size())];
    if (may_stand(combinator, drawn)) drawn.around.push_back(combinator);
  }
  return drawn;
}

// There is one prefix at a site, and one edit of a token.
bool has_another(const std::vector<Drawn>& edits, const std::string& kind) {
  return (kind == "prefix" || kind == "reft") &&
         std::any_of(edits.begin(), edits.end(),
                     [&](const Drawn& edit) { return kind == edit.leaf->kind; });
}

}  // namespace

std::vector<Row> composition_rows() {
  Random random(RandomKey{kSeed});
  std::vector<Row> rows;
  std::set<std::string> seen;
  while (rows.size() < kCompositions) {
    std::vector<Drawn> edits;
    size_t combinators = 0;
    for (uint64_t count = 1 + random.below(3); count > 0; --count) {
      const Drawn drawn = draw(random);
      if (has_another(edits, drawn.leaf->kind)) continue;
      combinators += drawn.around.size();
      edits.push_back(drawn);
    }
    std::string definition;
    for (const Drawn& edit : edits)
      definition += (definition.empty() ? "" : ", ") + edit.definition();
    if (combinators == 0 || !seen.insert(definition).second)
      continue;  // plain edits have rows of their own
    char name[32];
    std::snprintf(name, sizeof name, "composition_%02zu", rows.size());
    const auto trained = [edits](const ModelConfig& config) {
      int64_t sum = 0;
      for (const Drawn& edit : edits) sum += edit.trained(config);
      return sum;
    };
    const bool has_norms =
        definition.find("dora") != std::string::npos;  // which count as constants
    rows.push_back({"composition", name, definition, trained, !has_norms});
  }
  return rows;
}

}  // namespace graft::testing
