#include "study/harvest.h"

#include <algorithm>
#include <cstdlib>

#include "base/document.h"
#include "base/error.h"

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

// Numbers among `scores` that are scores, and what lies below them: data sets of their own.
template <class Take>
void visit_scores(const Node& scores, const std::string& side, const Take& take) {
  for (const auto& [name, value] : scores.members) {
    const bool is_score = name != "rows" && name != "only_answer" && name != "step" &&
                          name != "epoch" && name != "seconds" && name != "event";
    if (is_score && is_number(value)) take(side, name, number_of(value));
  }
  for (const auto& [name, value] : scores.members) {
    if (value.kind == Node::Kind::kMap && name != "majority")
      visit_scores(value, name == "eval" ? side : name, take);
  }
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
    }
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

void read_event(const Node& event, MemberResult& out) {
  const Node* kind = event.find("event");
  if (kind == nullptr) return;
  const int64_t step = step_of(event);
  if (kind->scalar == "step") {
    for (const char* name : {"loss", "gradient_norm", "learning_rate"}) {
      if (const Node* value = event.find(name))
        out.curve.push_back({"train", name, step, number_of(*value)});
    }
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
  const std::string lines = read_file(log);
  for (size_t begin = 0, number = 1; begin < lines.size(); ++number) {
    size_t end = lines.find('\n', begin);
    if (end == std::string::npos) end = lines.size();
    read_event(parse_json(std::string_view(lines).substr(begin, end - begin),
                          log.string() + ":" + std::to_string(number)),
               out);
    begin = end + 1;
  }
  return out;
}

}  // namespace graft
