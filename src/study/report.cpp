#include "study/report.h"

#include <map>

#include "base/document.h"
#include "base/version.h"
#include "study/page/page.h"
#include "study/recorded.h"
#include "study/table_text.h"

namespace graft {

namespace {

Node texts_of(const std::vector<std::string>& texts) { return Node::texts(texts); }

// What the page shows, and what its button saves.
Node part_node(const StudyTable& table, StudyTablePart part) {
  const TextTable shown = text_table(table, part, StudyTableFormat::kMarkdown);
  std::vector<Node> rows;
  for (const std::vector<std::string>& row : shown.rows) rows.push_back(texts_of(row));
  return Node::map({{"header", texts_of(shown.header)},
                    {"rows", Node::list(std::move(rows))},
                    {"note", Node::text(table_note(table, part))},
                    {"csv", Node::text(to_text(table, part, StudyTableFormat::kCsv))}});
}

Node member_node(const StudyStore& store, size_t index, const MemberStatus& status) {
  const PlannedMember& member = store.plan().members[index];
  Node out = Node::map({{"name", Node::text(member.name)},
                        {"settings", Node::text(member.settings)},
                        {"reason", Node::text(status.reason)}});
  switch (status.state) {
    case MemberState::kWaiting: out["state"] = Node::text("waiting"); break;
    case MemberState::kFailed: out["state"] = Node::text("failed"); break;
    case MemberState::kDone: out["state"] = Node::text("done"); break;
  }
  if (status.state != MemberState::kDone) return out;
  const MemberResult result = store.result(index);
  Node scores = Node::map(), numbers = Node::map();
  for (const FinalScore& score : result.scores)
    scores[score.side + " " + score.metric] = Node::number_or_null(score.value);
  for (const auto* list : {&result.facts, &result.readings}) {
    for (const NamedNumber& each : *list) numbers[each.name] = Node::number(each.value);
  }
  out["scores"] = std::move(scores);
  out["numbers"] = std::move(numbers);
  return out;
}

// Of each cell what charts are made of: mean, interval and costs.
Node cells_node(const StudyTable& table) {
  std::vector<Node> cells;
  for (const ResultCell& cell : table.cells) {
    if (cell.members.empty()) continue;
    std::vector<Node> scores;
    for (const auto& [seed, score] : cell.by_seed) scores.push_back(Node::number(score));
    Node node = Node::map({{"name", Node::text(cell_name(cell))},
                           {"metric", Node::text(cell.metric)},
                           {"mean", Node::number(cell.summary.mean)},
                           {"scores", Node::list(std::move(scores))},
                           {"parameters", Node::number_or_null(cell.parameters)},
                           {"seconds", Node::number_or_null(cell.seconds)},
                           {"memory", Node::number_or_null(cell.memory)},
                           {"bytes", Node::number_or_null(cell.bytes)}});
    if (cell.interval) {
      node["low"] = Node::number(cell.interval->low);
      node["high"] = Node::number(cell.interval->high);
    }
    cells.push_back(std::move(node));
  }
  return Node::list(std::move(cells));
}

// What every member of a cell has at a step, in the order of the cell.
using StepValues = std::vector<std::optional<double>>;
using Curves = std::map<std::pair<std::string, std::string>, std::map<int64_t, StepValues>>;

// By side and metric.
Curves curves_of(const StudyStore& store, const ResultCell& cell) {
  Curves curves;
  for (size_t i = 0; i < cell.members.size(); ++i) {
    for (const CurvePoint& point : store.result(cell.members[i]).curve) {
      if (point.metric == "gradient_norm" || point.metric == "learning_rate" || !point.value)
        continue;
      StepValues& values = curves[{point.side, point.metric}][point.step];
      values.resize(cell.members.size());
      values[i] = point.value;
    }
  }
  return curves;
}

// [step, mean, low and high end of the interval over the members, the value of each]
Node point_node(int64_t step, const StepValues& values, double level) {
  std::vector<double> known;
  for (const std::optional<double>& value : values) {
    if (value) known.push_back(*value);
  }
  const std::optional<Interval> interval = student_interval(known, level);
  Node out = Node::list({Node::integer(step), Node::number(summarise(known).mean),
                         interval ? Node::number(interval->low) : Node::null(),
                         interval ? Node::number(interval->high) : Node::null()});
  for (const std::optional<double>& value : values)
    out.items.push_back(Node::number_or_null(value));
  return out;
}

// Of each cell and curve its members' seeds and points, at most some hundred.
Node curves_node(const StudyStore& store, const StudyTable& table) {
  constexpr size_t kMostPoints = 100;
  std::vector<Node> out;
  for (const ResultCell& cell : table.cells) {
    std::vector<std::string> seeds;
    for (const size_t member : cell.members)
      seeds.push_back(seeds_of(store.plan().members[member]));
    for (const auto& [what, by_step] : curves_of(store, cell)) {
      const size_t every = (by_step.size() + kMostPoints - 1) / kMostPoints;
      std::vector<Node> points;
      size_t index = 0;
      for (const auto& [step, values] : by_step) {
        const bool is_last = index + 1 == by_step.size();
        if (index++ % every == 0 || is_last)
          points.push_back(point_node(step, values, table.level));
      }
      out.push_back(Node::map({{"cell", Node::text(cell_name(cell))},
                               {"name", Node::text(what.first + " " + what.second)},
                               {"seeds", texts_of(seeds)},
                               {"points", Node::list(std::move(points))}}));
    }
  }
  return Node::list(std::move(out));
}

// Of every two compared values what a matrix shows.
Node pairs_node(const StudyTable& table) {
  std::vector<Node> pairs;
  for (const Comparison& each : table.comparisons) {
    std::string group;
    for (const auto& [factor, value] : each.group) group += (group.empty() ? "" : ", ") + value;
    pairs.push_back(Node::map({{"group", Node::text(group)},
                               {"first", Node::text(each.first)},
                               {"second", Node::text(each.second)},
                               {"mean", Node::number(each.summary.mean)},
                               {"p", Node::number(each.holm_p)},
                               {"decided", Node::boolean(each.is_decided)}}));
  }
  return Node::list(std::move(pairs));
}

Node study_node(const ReportedStudy& study) {
  const StudyStore& store = *study.store;
  const StudyTable table = make_table(store, study.options);
  const std::vector<MemberStatus> statuses = store.statuses();
  std::vector<Node> members;
  for (size_t i = 0; i < statuses.size(); ++i)
    members.push_back(member_node(store, i, statuses[i]));
  return Node::map({{"name", Node::text(table.study)},
                    {"side", Node::text(table.side)},
                    {"digest", Node::text(store.plan().digest())},
                    {"file", Node::text(store.plan().file)},
                    {"results", part_node(table, StudyTablePart::kResults)},
                    {"comparisons", part_node(table, StudyTablePart::kComparisons)},
                    {"ranks", part_node(table, StudyTablePart::kRanks)},
                    {"tries", part_node(table, StudyTablePart::kTries)},
                    {"pairs", pairs_node(table)},
                    {"recorded", recorded_node(store, table)},
                    {"search", study.search},
                    {"cells", cells_node(table)},
                    {"curves", curves_node(store, table)},
                    {"members", Node::list(std::move(members))}});
}

// JSON within a script element: nothing in it may end the element.
std::string embedded(const Node& node) {
  std::string out;
  for (const char c : to_json(node, -1))
    out += c == '<' ? std::string("\\u003c") : std::string(1, c);
  return out;
}

}  // namespace

std::string report_page(const std::vector<ReportedStudy>& studies) {
  std::vector<Node> nodes;
  for (const ReportedStudy& study : studies) nodes.push_back(study_node(study));
  const Node data =
      Node::map({{"graft", Node::text(kVersionText)}, {"studies", Node::list(std::move(nodes))}});
  std::string page(kPage);
  const auto put = [&](std::string_view mark, std::string_view text) {
    page.replace(page.find(mark), mark.size(), text);
  };
  put("@CHARTS@", kCharts);
  put("@DATA@", embedded(data));
  return page;
}

}  // namespace graft
