#include "study/search_file.h"

#include <cmath>
#include <set>

namespace graft {

namespace {

constexpr int64_t kMostTries = 10'000;
constexpr double kFar = 1e300;

enum class Scale { kLinear, kLog, kWhole };
constexpr Name<Scale> kScales[] = {
    {Scale::kLinear, "linear"}, {Scale::kLog, "log"}, {Scale::kWhole, "whole"}};

void read_range(Options& range, SearchAxis& axis) {
  axis.low = range.number("low", std::nullopt, -kFar, kFar);
  axis.high = range.number("high", std::nullopt, -kFar, kFar);
  const Scale scale = range.choice("scale", Scale::kLinear, kScales);
  axis.is_logarithmic = scale == Scale::kLog;
  axis.is_whole = scale == Scale::kWhole;
  if (axis.high < axis.low) range.fault("high", "expected no less than low");
  if (axis.is_logarithmic && axis.low <= 0)
    range.fault("low", "on a logarithmic scale expected more than 0");
}

std::vector<SearchAxis> read_axes(Options& search, SearchKind kind) {
  std::vector<SearchAxis> axes;
  const Node* map = search.raw("settings");
  if (map == nullptr || map->kind != Node::Kind::kMap || map->members.empty()) {
    search.fault("settings",
                 "expected settings and their values, such as {learning_rate: [1e-3, 3e-3]}");
    return axes;
  }
  Options& settings = search.section("settings");
  for (const auto& [key, value] : map->members) {
    SearchAxis axis{.key = key == "rows" ? "data.rows" : key};
    axis.place =
        settings.source() + ":" + std::to_string(value.line) + ":" + std::to_string(value.column);
    if (value.kind == Node::Kind::kMap) {
      read_range(settings.section(key), axis);
      if (kind == SearchKind::kGrid)
        settings.fault(key, "a range is drawn from, which kind: random does; give a list");
    } else {
      settings.ignore(key);
      if (value.kind != Node::Kind::kList || value.items.empty())
        settings.fault(key, "expected a list of values, or a range {low, high, scale}");
      for (const Node& item : value.items) axis.values.push_back(to_json(item, -1));
    }
    axes.push_back(std::move(axis));
  }
  return axes;
}

Halving read_halving(Options& options) {
  Halving out;
  out.key = options.choice("setting", std::nullopt, {"epochs", "max_steps", "rows"});
  if (out.key == "rows") out.key = "data.rows";
  const double from = options.number("from", std::nullopt, 1e-3, 1e12);
  const double to = options.number("to", std::nullopt, 1e-3, 1e12);
  out.factor = options.integer("factor", 3, 2, 100);
  if (to <= from) options.fault("to", "expected more than from");
  else
    for (double budget = from; budget < to; budget *= static_cast<double>(out.factor))
      out.budgets.push_back(out.key == "epochs" ? budget : std::floor(budget));
  out.budgets.push_back(out.key == "epochs" ? to : std::floor(to));
  return out;
}

}  // namespace

std::optional<SearchPlan> read_search(Options& options) {
  if (!options.is_given("search")) return std::nullopt;
  Options& search = options.section("search");
  SearchPlan plan;
  plan.kind = search.choice("kind", SearchKind::kGrid, kSearchKinds);
  plan.axes = read_axes(search, plan.kind);
  if (plan.kind == SearchKind::kRandom) {
    plan.tries = search.integer("tries", std::nullopt, 1, kMostTries);
    plan.draw = search.integer("draw", 0, 0, INT64_MAX);
  }
  plan.seeds = search.integers("seed", std::nullopt, 0, INT64_MAX);
  std::set<int64_t> different(plan.seeds.begin(), plan.seeds.end());
  if (search.is_given("seed") && (plan.seeds.empty() || different.size() < plan.seeds.size()))
    search.fault("seed", "expected one seed or more, each once");
  if (search.is_given("halving")) plan.halving = read_halving(search.section("halving"));
  return plan;
}

}  // namespace graft
