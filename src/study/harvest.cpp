#include "study/harvest.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/document.h"
#include "base/error.h"
#include "data/metrics.h"

namespace graft {

namespace {

bool is_number(const Node& node) {
  return node.kind == Node::Kind::kNull || (node.kind == Node::Kind::kScalar && !node.is_string &&
                                            node.scalar != "true" && node.scalar != "false");
}

// Null is a value that does not exist.
std::optional<double> number_of(const Node& node) {
  if (node.kind == Node::Kind::kNull) return std::nullopt;
  return std::strtod(node.scalar.c_str(), nullptr);
}

int64_t step_of(const Node& event) {
  const Node* step = event.find("step");
  return step == nullptr ? 0 : std::atoll(step->scalar.c_str());
}

// The metric whose mean over data sets this is. Older runs do not say so: there it is what the
// first data set has first.
std::string metric_of_mean(const Node& scores) {
  if (const Node* metric = scores.find("mean_of")) return metric->scalar;
  for (const auto& [name, of_set] : scores.members) {
    if (of_set.kind != Node::Kind::kMap || !is_score_key(name) || name == "groups") continue;
    for (const auto& [metric, value] : of_set.members) {
      if (metric != "loss" && is_score_key(metric) && is_number(value)) return metric;
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
    if (is_score_key(name) && is_number(value))
      take(side, name == "mean" ? mean_name(scores) : name, number_of(value));
  }
  for (const auto& [name, value] : scores.members) {
    if (value.kind != Node::Kind::kMap || !is_score_key(name)) continue;
    if (name != "groups") {
      visit_scores(value, name == "eval" ? side : name, take);
      continue;
    }
    const std::string mean = mean_name(scores);
    for (const auto& [group, of_group] : value.members)
      take(name, mean == "mean" ? group : mean + " " + group, number_of(of_group));
  }
}

// Two of its numbers are scores; its bins are kept as they are, under "SIDE reliability", a list of
// [low, high, rows, confidence, accuracy].
void read_calibration(const Node& scores, const std::string& side, MemberResult& out) {
  const Node* calibration = scores.find("calibration");
  if (calibration == nullptr) return;
  for (const char* name : {"brier", "ece"})
    out.scores.push_back({side, name, number_of(*calibration->find(name))});
  std::vector<Node> bins;
  for (const Node& bin : calibration->find("reliability")->items) {
    std::vector<Node> numbers;
    for (const auto& [name, value] : bin.members) numbers.push_back(value);
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

void read_metrics(const Node& metrics, MemberResult& out) {
  for (const char* side : {"eval", "test"}) {
    if (const Node* scores = metrics.find(side)) {
      visit_scores(*scores, side,
                   [&](const std::string& where, const std::string& name,
                       const std::optional<double>& value) {
                     out.scores.push_back({where, name, value});
                   });
      read_calibration(*scores, side, out);
    }
  }
  if (const Node* plain = metrics.find("forgetting")) {
    out.scores.push_back({"plain", "forgetting", number_of(*plain->find("rise"))});
    out.scores.push_back({"plain", "loss", number_of(*plain->find("after"))});
  }
  for (const char* name : {"step", "steps", "tokens", "edit_parameters", "head_parameters"}) {
    const Node* value = metrics.find(name);
    if (value != nullptr && is_number(*value))
      out.facts.push_back({name, number_of(*value).value_or(0)});
  }
  if (const Node* loss = metrics.find("loss")) {
    for (const auto& [name, value] : loss->members) {
      if (const std::optional<double> number = number_of(value); number && is_number(value))
        out.facts.push_back({"loss_" + name, *number});
    }
  }
  for (const char* name : {"seconds", "peak_bytes"}) {
    const Node* value = metrics.find(name);
    if (value != nullptr && is_number(*value))
      out.readings.push_back({name, number_of(*value).value_or(0)});
  }
}

// A list of lists: how often each expert was drawn, by who drew.
using RouteCounts = std::map<std::string, std::vector<int64_t>>;

void count_routes(const Node& event, RouteCounts& counts) {
  const Node* routes = event.find("routes");
  if (routes == nullptr) return;
  for (const auto& [name, experts] : routes->members) {
    std::vector<int64_t>& own = counts[name];
    for (const Node& expert : experts.items) {
      const auto index = static_cast<size_t>(std::atoll(expert.scalar.c_str()));
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

void read_event(const Node& event, RouteCounts& routes, MemberResult& out) {
  const Node* kind = event.find("event");
  if (kind == nullptr) return;
  const int64_t step = step_of(event);
  if (kind->scalar == "step") {
    for (const char* name : {"loss", "gradient_norm", "learning_rate"}) {
      if (const Node* value = event.find(name))
        out.curve.push_back({"train", name, step, number_of(*value)});
    }
    if (const Node* norms = event.find("gradient_norms")) {
      for (const auto& [edit, norm] : norms->members)
        out.curve.push_back({"train", "gradient_norm " + edit, step, number_of(norm)});
    }
    count_routes(event, routes);
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
  read_metrics(parse_json(read_file(metrics), metrics.string()), out);
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
    read_event(parse_json(std::string_view(lines).substr(begin, end - begin),
                          log.string() + ":" + std::to_string(number)),
               routes, out);
    begin = end + 1;
  }
  for (const auto& [name, counts] : routes)
    out.records.push_back({0, "train routes " + name, to_json(Node::integers(counts), -1)});
  return out;
}

}  // namespace graft
