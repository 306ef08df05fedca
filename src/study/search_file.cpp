#include "study/search_file.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/wording.h"
#include "study/plan_members.h"
#include "study/search_trials.h"

namespace graft {

namespace {

constexpr int64_t kMostTries = 10'000;
constexpr double kFar = 1e300;
constexpr double kMostWhole = 1e15;  // a double holds every whole number up to here

enum class Scale { kLinear, kLog, kWhole };
constexpr Name<Scale> kScales[] = {
    {Scale::kLinear, "linear"}, {Scale::kLog, "log"}, {Scale::kWhole, "whole"}};

void read_range(Options& range, SearchAxis& axis) {
  const Scale scale = range.choice("scale", Scale::kLinear, kScales);
  axis.is_logarithmic = scale == Scale::kLog;
  axis.is_whole = scale == Scale::kWhole;
  const double far = axis.is_whole ? kMostWhole : kFar;
  axis.low = range.number("low", std::nullopt, -far, far);
  axis.high = range.number("high", std::nullopt, -far, far);
  if (axis.high < axis.low) range.fault("high", "expected no less than low");
  if (axis.is_logarithmic && axis.low <= 0)
    range.fault("low", "on a logarithmic scale expected more than 0");
  for (const auto& [key, end] : {std::pair{"low", axis.low}, {"high", axis.high}}) {
    if (axis.is_whole && end != std::floor(end)) range.fault(key, "of whole numbers expected one");
  }
}

std::string place_in(const Options& options, const Node& node) {
  return options.source() + ":" + std::to_string(node.line) + ":" + std::to_string(node.column);
}

bool has_axis(const std::vector<SearchAxis>& axes, const std::string& key) {
  return std::any_of(axes.begin(), axes.end(),
                     [&](const SearchAxis& axis) { return axis.key == key; });
}

// Why a search cannot choose this setting; "" where it can.
std::string reason_against(const std::string& key, const std::vector<SearchAxis>& axes) {
  if (has_axis(axes, key)) return "the setting " + quote(key) + " stands twice";
  if (key == "method" || key == "task") return quote(key) + " is no setting: list it in grid:";
  if (is_seed_setting(key))
    return quote(key) + " is nothing to choose: seed: of the search has its seeds";
  const std::string says = said_elsewhere(key);
  return says.empty() ? "" : quote(key) + " is no setting of a study: " + says;
}

// A few long lists have more combinations than an integer counts: it ends at the first too many.
void check_combinations(Options& search, const std::vector<SearchAxis>& axes) {
  int64_t count = 1;
  for (const SearchAxis& axis : axes) {
    count *= std::ssize(axis.values);
    if (count <= kMostTries) continue;
    return search.fault("settings", "expected lists of at most " + count_text(kMostTries) +
                                        " combinations, found more; leave values out, or draw "
                                        "some of them (kind: random, tries: 100)");
  }
}

// `kind`: nothing where that is wrong itself.
std::vector<SearchAxis> read_axes(Options& search, std::optional<SearchKind> kind) {
  std::vector<SearchAxis> axes;
  const Node* map = search.raw("settings");
  if (map == nullptr || map->kind != Node::Kind::kMap || map->members.empty()) {
    search.fault("settings",
                 "expected settings and their values, such as {learning_rate: [1e-3, 3e-3]}");
    return axes;
  }
  Options& settings = search.section("settings");
  for (const auto& [key, value] : map->members) {
    SearchAxis axis{.key = long_name(key)};
    axis.place = place_in(settings, value);
    if (const std::string reason = reason_against(axis.key, axes); !reason.empty())
      settings.fault(key, reason);
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

// Steps and rows are whole numbers, epochs are not.
Halving read_halving(Options& search, const std::vector<SearchAxis>& axes) {
  Options& options = search.section("halving");
  Halving out;
  out.place = place_in(search, *search.raw("halving"));
  out.key = long_name(options.choice("setting", std::nullopt, {"epochs", "max_steps", "rows"}));
  const bool is_whole = out.key != "epochs";
  const double least = is_whole ? 1 : 1e-3;
  const double from = options.number("from", std::nullopt, least, 1e12),
               to = options.number("to", std::nullopt, least, 1e12);
  for (const auto& [key, budget] : {std::pair{"from", from}, {"to", to}}) {
    if (is_whole && budget != std::floor(budget)) options.fault(key, "expected a whole number");
  }
  out.factor = options.integer("factor", 3, 2, 100);
  if (to <= from && !options.is_faulty("from") && !options.is_faulty("to"))
    options.fault("to", "expected more than from");
  else
    for (double budget = from; budget < to; budget *= static_cast<double>(out.factor))
      out.budgets.push_back(budget);
  out.budgets.push_back(to);
  if (has_axis(axes, out.key))
    options.fault("setting", quote(out.key) + " is the budget and is searched; leave one out");
  return out;
}

}  // namespace

std::optional<SearchPlan> read_search(Options& options) {
  if (!options.is_given("search")) return std::nullopt;
  Options& search = options.section("search");
  SearchPlan plan;
  plan.kind = search.choice("kind", SearchKind::kGrid, kSearchKinds);
  const bool has_kind = !search.is_faulty("kind");
  plan.axes = read_axes(search, has_kind ? std::optional(plan.kind) : std::nullopt);
  if (!has_kind) {
    search.ignore("tries");
    search.ignore("draw");
  } else if (plan.kind == SearchKind::kGrid) {
    check_combinations(search, plan.axes);
  } else {
    plan.tries = search.integer("tries", std::nullopt, 1, kMostTries);
    plan.draw = search.integer("draw", 0, 0, INT64_MAX);
  }
  plan.seeds = search.integers("seed", std::nullopt, 0, INT64_MAX);
  std::set<int64_t> different(plan.seeds.begin(), plan.seeds.end());
  if (search.is_given("seed") && (plan.seeds.empty() || different.size() < plan.seeds.size()))
    search.fault("seed", "expected one seed or more, each once");
  if (search.is_given("halving")) plan.halving = read_halving(search, plan.axes);
  return plan;
}

}  // namespace graft
