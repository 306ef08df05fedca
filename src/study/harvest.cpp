#include "study/harvest.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/document.h"
#include "base/error.h"
#include "base/printable.h"
#include "base/spelling.h"
#include "data/metrics.h"
#include "study/kept_node.h"
#include "study/recorded.h"

namespace graft {

namespace {

// Null is a value that does not exist.
bool is_number_or_null(const Node& node) {
  return node.kind == Node::Kind::kNull || node.as_number();
}

// The metric whose mean over data sets this is. Older runs do not say so: there it is what the
// first data set has first.
std::string metric_of_mean(const Node& scores) {
  if (const Node* metric = scores.find("mean_of")) return metric->scalar;
  for (const auto& [name, of_set] : scores.members) {
    if (of_set.kind != Node::Kind::kMap || !is_score_key(name) || name == "groups") continue;
    for (const auto& [metric, value] : of_set.members) {
      if (metric != "loss" && is_score_key(metric) && is_number_or_null(value)) return metric;
    }
  }
  return "";
}

// What the mean over data sets is called: "mean_perplexity" where less of it is better, else
// "mean".
std::string mean_name(const Node& scores) {
  const std::string metric = metric_of_mean(scores);
  return is_less_better(metric) ? "mean_" + metric : "mean";
}

// Numbers among `scores` that are scores, and what lies below them: data sets of their own, and the
// means over groups of them.
template <class Take>
void visit_scores(const Node& scores, const std::string& side, const Take& take) {
  for (const auto& [name, value] : scores.members) {
    if (is_score_key(name) && is_number_or_null(value))
      take(side, name == "mean" ? mean_name(scores) : name, value.as_number());
  }
  for (const auto& [name, value] : scores.members) {
    if (value.kind != Node::Kind::kMap || !is_score_key(name)) continue;
    if (name != "groups") {
      visit_scores(value, name == "eval" ? side : name, take);
      continue;
    }
    const std::string mean = mean_name(scores);
    for (const auto& [group, of_group] : value.members)
      take(name, mean == "mean" ? group : mean + " " + group, of_group.as_number());
  }
}

// Two of its numbers are scores; its bins are kept as they are, under "SIDE reliability", a list of
// [low, high, rows, confidence, accuracy].
void read_calibration(const Node& scores, const std::string& side, const std::string& source,
                      MemberResult& out) {
  const Node* calibration = scores.find("calibration");
  if (calibration == nullptr) return;
  for (const char* name : {"brier", "ece"})
    out.scores.push_back({side, name, calibration->find_number(name)});
  std::vector<Node> bins;
  for (const KeptNode& bin : KeptNode(*calibration, source).at("reliability").items()) {
    std::vector<Node> numbers;
    for (const char* name : {"low", "high", "rows", "confidence", "accuracy"})
      numbers.push_back(bin.at(name).node());
    bins.push_back(Node::list(std::move(numbers)));
  }
  out.records.push_back({0, side + " reliability", to_json(Node::list(std::move(bins)), -1)});
}

// The primary score first, the loss last, the others as they are.
void sort_scores(const std::string& primary, std::vector<FinalScore>& scores) {
  const auto weight = [&](const FinalScore& score) {
    return score.metric == primary ? 0 : score.metric == "loss" ? 2 : 1;
  };
  std::vector<std::string> sides;
  for (const FinalScore& score : scores) {
    if (std::find(sides.begin(), sides.end(), score.side) == sides.end())
      sides.push_back(score.side);
  }
  const auto place = [&](const FinalScore& score) {
    return std::pair(std::find(sides.begin(), sides.end(), score.side), weight(score));
  };
  std::stable_sort(scores.begin(), scores.end(),
                   [&](const FinalScore& a, const FinalScore& b) { return place(a) < place(b); });
}

void read_metrics(const Node& metrics, const std::string& source, MemberResult& out) {
  for (const char* side : {"eval", "test"}) {
    if (const Node* scores = metrics.find(side)) {
      visit_scores(*scores, side,
                   [&](const std::string& where, const std::string& name,
                       const std::optional<double>& value) {
                     out.scores.push_back({where, name, value});
                   });
      read_calibration(*scores, side, source, out);
    }
  }
  if (const Node* plain = metrics.find("forgetting")) {
    out.scores.push_back({"plain", "forgetting", plain->find_number("rise")});
    out.scores.push_back({"plain", "loss", plain->find_number("after")});
  }
  for (const char* name : {"step", "steps", "tokens", "edit_parameters", "head_parameters"}) {
    if (const std::optional<double> value = metrics.find_number(name))
      out.facts.push_back({name, *value});
  }
  if (const Node* loss = metrics.find("loss")) {
    for (const auto& [name, value] : loss->members) {
      if (const std::optional<double> number = value.as_number())
        out.facts.push_back({"loss_" + name, *number});
    }
  }
  for (const char* name : {"seconds", "peak_bytes"}) {
    if (const std::optional<double> value = metrics.find_number(name))
      out.readings.push_back({name, *value});
  }
}

// A list of lists: how often each expert was drawn, by who drew.
using RouteCounts = std::map<std::string, std::vector<int64_t>>;

void count_routes(const Node& event, const std::string& source, RouteCounts& counts) {
  constexpr int64_t kMostExperts = 1024;  // as stochastic and router may have
  const Node* routes = event.find("routes");
  if (routes == nullptr) return;
  for (const auto& [name, experts] : routes->members) {
    std::vector<int64_t>& own = counts[name];
    for (const KeptNode& expert : KeptNode(experts, source).items()) {
      const auto index = static_cast<size_t>(expert.integer(0, kMostExperts - 1));
      own.resize(std::max(own.size(), index + 1));
      ++own[index];
    }
  }
}

// What the run recorded of rows, under "SIDE NAME".
void read_records(const Path& file, MemberResult& out) {
  if (!std::filesystem::exists(file)) return;
  for (const auto& [side, names] : parse_json(read_file(file), file.string()).members) {
    if (names.kind != Node::Kind::kMap) continue;
    for (const auto& [name, summary] : names.members)
      out.records.push_back({0, side + " " + name, to_json(summary, -1)});
  }
}

void read_event(const Node& event, const std::string& source, RouteCounts& routes,
                MemberResult& out) {
  const Node* kind = event.find("event");
  if (kind == nullptr) return;
  const int64_t step = event.find_integer("step").value_or(0);
  if (kind->scalar == "step") {
    for (const char* name : {"loss", "gradient_norm", "learning_rate"}) {
      if (const Node* value = event.find(name))
        out.curve.push_back({"train", name, step, value->as_number()});
    }
    if (const Node* norms = event.find("gradient_norms")) {
      for (const auto& [edit, norm] : norms->members)
        out.curve.push_back({"train", "gradient_norm " + edit, step, norm.as_number()});
    }
    count_routes(event, source, routes);
  } else if (kind->scalar == "evaluate") {
    visit_scores(
        event, "eval",
        [&](const std::string& side, const std::string& name, const std::optional<double>& value) {
          out.curve.push_back({side, name, step, value});
        });
  } else if (kind->scalar == "records") {
    if (const Node* means = event.find("means")) {
      for (const auto& [name, values] : means->members)
        out.records.push_back({step, name, to_json(values, -1)});
    }
  }
}

}  // namespace

MemberResult read_run_folder(const Path& folder, const std::string& primary) {
  MemberResult out;
  const Path metrics = folder / "metrics.json", log = folder / "log.jsonl";
  if (!std::filesystem::exists(metrics))
    throw InputError(named(folder.string()) +
                     ": the run is not finished, for it has no metrics.json; graft train " +
                     option_name("resume") + " goes on with it, or leave it out");
  read_metrics(parse_json(read_file(metrics), metrics.string()), metrics.string(), out);
  sort_scores(primary, out.scores);
  read_records(folder / "records.json", out);
  const Path tensors = folder / "adapter" / "adapter.safetensors";
  if (std::filesystem::exists(tensors))
    out.facts.push_back(
        {"adapter_bytes", static_cast<double>(std::filesystem::file_size(tensors))});
  RouteCounts routes;
  const std::string lines = read_file(log);
  for (size_t begin = 0, number = 1; begin < lines.size(); ++number) {
    size_t end = lines.find('\n', begin);
    if (end == std::string::npos) end = lines.size();
    const std::string source = log.string() + ":" + std::to_string(number);
    read_event(parse_json(std::string_view(lines).substr(begin, end - begin), source), source,
               routes, out);
    begin = end + 1;
  }
  for (const auto& [name, counts] : routes)
    out.records.push_back({0, "train routes " + name, to_json(Node::integers(counts), -1)});
  check_records(out, folder.string());
  return out;
}

}  // namespace graft
