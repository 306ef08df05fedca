#include "study/result_node.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace graft {

namespace {

// A list with a list for each item.
template <class Item, class F>
Node rows_node(const std::vector<Item>& items, F row) {
  std::vector<Node> rows;
  for (const Item& item : items) rows.push_back(Node::list(row(item)));
  return Node::list(std::move(rows));
}

Node numbers_node(const std::vector<NamedNumber>& numbers) {
  return rows_node(numbers, [](const NamedNumber& each) {
    return std::vector{Node::text(each.name), Node::number(each.value)};
  });
}

// The cells of a row, in the order in which they were written.
class Cells {
 public:
  explicit Cells(const Node& row) : row_(row) {}

  std::string text() { return next().scalar; }
  double number() { return next().as_number().value(); }
  int64_t integer() { return next().as_integer().value(); }
  std::optional<double> value() { return next().as_number(); }  // none: null

 private:
  const Node& next() { return row_.items.at(at_++); }

  const Node& row_;
  size_t at_ = 0;
};

template <class F>
auto items_of(const Node& node, const char* key, F item) {
  const Node* rows = node.find(key);
  ensure(rows != nullptr, "a result has all of its lists");
  std::vector<decltype(item(std::declval<Cells&>()))> out;
  for (const Node& row : rows->items) {
    Cells cells(row);
    out.push_back(item(cells));
  }
  return out;
}

// Braces evaluate from left to right.
NamedNumber named_number(Cells& cells) { return {cells.text(), cells.number()}; }

}  // namespace

Node result_node(const MemberResult& result) {
  Node out = Node::map();
  out["scores"] = rows_node(result.scores, [](const FinalScore& each) {
    return std::vector{Node::text(each.side), Node::text(each.metric),
                       Node::number_or_null(each.value)};
  });
  out["curve"] = rows_node(result.curve, [](const CurvePoint& each) {
    return std::vector{Node::text(each.side), Node::text(each.metric), Node::integer(each.step),
                       Node::number_or_null(each.value)};
  });
  out["answers"] = rows_node(result.answers, [](const RowAnswer& each) {
    return std::vector{Node::text(each.side), Node::integer(each.row), Node::text(each.id),
                       Node::text(each.truth), Node::text(each.answer)};
  });
  out["records"] = rows_node(result.records, [](const RecordedMeans& each) {
    return std::vector{Node::integer(each.step), Node::text(each.name), Node::text(each.values)};
  });
  out["facts"] = numbers_node(result.facts);
  out["readings"] = numbers_node(result.readings);
  return out;
}

MemberResult parse_result(const Node& node) {
  MemberResult out;
  out.scores = items_of(node, "scores", [](Cells& cells) {
    return FinalScore{cells.text(), cells.text(), cells.value()};
  });
  out.curve = items_of(node, "curve", [](Cells& cells) {
    return CurvePoint{cells.text(), cells.text(), cells.integer(), cells.value()};
  });
  out.answers = items_of(node, "answers", [](Cells& cells) {
    return RowAnswer{cells.text(), cells.integer(), cells.text(), cells.text(), cells.text()};
  });
  out.records = items_of(node, "records", [](Cells& cells) {
    return RecordedMeans{cells.integer(), cells.text(), cells.text()};
  });
  out.facts = items_of(node, "facts", named_number);
  out.readings = items_of(node, "readings", named_number);
  return out;
}

}  // namespace graft
