#include "study/search_record.h"

#include <numeric>

#include "study/search_run.h"

namespace graft {

namespace {

// Candidates and rungs are counted from 1 in the file.
Node count_node(size_t index) { return Node::integer(static_cast<int64_t>(index) + 1); }

Node settings_node(const TrialSettings& settings) {
  Node out = Node::map();
  for (const auto& [key, value] : settings) out[key] = parse_yaml(value, key);
  return out;
}

void check_count(const KeptNode& node) { node.integer(1, INT64_MAX); }

void check_trial(const KeptNode& trial) {
  check_count(trial.at("candidate"));
  check_count(trial.at("rung"));
  trial.at("settings").expect_map();
  record_of(trial, {});
}

void check_search_record(const KeptNode& search) {
  search.at("name").text();
  for (const KeptNode& trial : search.at("trials").items()) check_trial(trial);
  for (const KeptNode& stop : search.at("stopped").items()) {
    check_count(stop.at("candidate"));
    check_count(stop.at("rung"));
    stop.at("reason").text();
  }
  const KeptNode best = search.at("best");
  if (best.node().kind != Node::Kind::kNull) check_count(best);
}

}  // namespace

std::optional<double> TrialRecord::mean() const {
  if (scores.empty() || !reason.empty()) return std::nullopt;
  return std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size());
}

Node to_node(const TrialRecord& record) {
  std::vector<Node> scores;
  for (const double score : record.scores) scores.push_back(Node::number(score));
  return Node::map({{"candidate", count_node(record.trial.candidate)},
                    {"rung", count_node(record.trial.rung)},
                    {"settings", settings_node(record.trial.settings)},
                    {"metric", Node::text(record.metric)},
                    {"scores", Node::list(std::move(scores))},
                    {"reason", Node::text(record.reason)}});
}

TrialRecord record_of(const KeptNode& node, Trial trial) {
  TrialRecord record{std::move(trial), {}, node.at("metric").text(), node.at("reason").text()};
  for (const KeptNode& score : node.at("scores").items()) record.scores.push_back(score.number());
  return record;
}

Node search_node(const std::string& name, const std::vector<Node>& trials, const Searcher& searcher,
                 bool is_over) {
  std::vector<Node> stopped;
  for (const StoppedCandidate& each : searcher.stopped())
    stopped.push_back(Node::map({{"candidate", count_node(each.candidate)},
                                 {"rung", count_node(each.rung)},
                                 {"reason", Node::text(each.reason)}}));
  const std::optional<Trial> best = is_over ? searcher.best() : std::nullopt;
  return Node::map({{"name", Node::text(name)},
                    {"trials", Node::list(trials)},
                    {"stopped", Node::list(std::move(stopped))},
                    {"best", best ? count_node(best->candidate) : Node::null()},
                    {"settings", best ? settings_node(best->settings) : Node::null()}});
}

Node read_searches(const Path& folder) {
  const Path file = folder / kSearchFile;
  if (!std::filesystem::exists(file)) return Node::null();
  Node found = parse_json(read_file(file), file.string());
  const KeptNode kept(found, "'" + file.string() + "'");
  for (const KeptNode& search : kept.at("searches").items()) check_search_record(search);
  return found;
}

}  // namespace graft
