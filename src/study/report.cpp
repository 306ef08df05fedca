#include "study/report.h"

#include "base/document.h"
#include "base/version.h"
#include "study/page/page.h"
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

Node number_or_null(const std::optional<double>& value) {
  return value ? Node::number(*value) : Node::null();
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
    scores[score.side + " " + score.metric] = number_or_null(score.value);
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
    std::string name;
    for (const auto& [factor, value] : cell.factors) name += (name.empty() ? "" : ", ") + value;
    std::vector<Node> scores;
    for (const auto& [seed, score] : cell.by_seed) scores.push_back(Node::number(score));
    Node node = Node::map({{"name", Node::text(name)},
                           {"metric", Node::text(cell.metric)},
                           {"mean", Node::number(cell.summary.mean)},
                           {"scores", Node::list(std::move(scores))},
                           {"parameters", number_or_null(cell.parameters)},
                           {"seconds", number_or_null(cell.seconds)}});
    if (cell.interval) {
      node["low"] = Node::number(cell.interval->low);
      node["high"] = Node::number(cell.interval->high);
    }
    cells.push_back(std::move(node));
  }
  return Node::list(std::move(cells));
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
                    {"cells", cells_node(table)},
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
  constexpr std::string_view kMark = "@DATA@";
  std::string page(kPage);
  page.replace(page.find(kMark), kMark.size(), embedded(data));
  return page;
}

}  // namespace graft
