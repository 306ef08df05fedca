#include "study/recorded.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "study/kept_node.h"

namespace graft {

namespace {

constexpr size_t kValueBins = 20;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();  // JSON quotes it

std::vector<double> numbers_of(const std::vector<KeptNode>& items) {
  std::vector<double> out;
  for (const KeptNode& item : items) out.push_back(item.node().as_number().value_or(kUnknown));
  return out;
}

Node list_of(const std::vector<double>& numbers) {
  std::vector<Node> items;
  for (const double number : numbers) items.push_back(Node::number(number));
  return Node::list(std::move(items));
}

void add_to(const std::vector<double>& more, std::vector<double>& sum) {
  sum.resize(std::max(sum.size(), more.size()));
  for (size_t i = 0; i < more.size(); ++i) sum[i] += more[i];
}

// What one member recorded of one gate, router or edit.
struct ValueSummary {
  std::vector<double> mean;
  double low = 0, high = 0;
  std::vector<std::vector<double>> counts;  // empty: means alone
};

ValueSummary summary_of(const KeptNode& record) {
  if (record.node().kind != Node::Kind::kMap)
    return {.mean = numbers_of(record.items()), .counts = {}};
  ValueSummary out{.mean = numbers_of(record.at("mean").items()),
                   .low = record.at("low").number(),
                   .high = record.at("high").number(),
                   .counts = {}};
  for (const KeptNode& column : record.at("counts").items(out.mean.size()))
    out.counts.push_back(numbers_of(column.items()));
  return out;
}

struct Bin {
  double low = 0, high = 0, rows = 0, confidence = 0, accuracy = 0;
};

std::vector<Bin> bins_of(const KeptNode& record) {
  std::vector<Bin> out;
  for (const KeptNode& bin : record.items()) {
    const std::vector<KeptNode> own = bin.items(5);
    const std::vector<double> numbers = numbers_of(own);
    const bool is_empty = numbers[2] == 0;  // its means are null; those of older runs are 0
    out.push_back({own[0].number(), own[1].number(), numbers[2], is_empty ? 0 : numbers[3],
                   is_empty ? 0 : numbers[4]});
  }
  return out;
}

// Counts by bins from low to high, put into those from `least` to `greatest` by their middles.
std::vector<double> moved(const std::vector<double>& counts, double low, double high, double least,
                          double greatest) {
  std::vector<double> out(kValueBins);
  const double width = (high - low) / static_cast<double>(counts.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    const double middle = low + width * (static_cast<double>(i) + 0.5);
    const double place = greatest > least ? (middle - least) / (greatest - least) : 0;
    const double bin = std::floor(place * static_cast<double>(kValueBins));
    out[static_cast<size_t>(std::clamp(bin, 0.0, static_cast<double>(kValueBins - 1)))] +=
        counts[i];
  }
  return out;
}

Node joined_node(const std::vector<ValueSummary>& members) {
  std::vector<double> mean;
  for (const ValueSummary& own : members) add_to(own.mean, mean);
  for (double& value : mean) value /= static_cast<double>(members.size());
  Node out = Node::map({{"mean", list_of(mean)}});
  const bool has_counts = std::all_of(members.begin(), members.end(),
                                      [](const ValueSummary& own) { return !own.counts.empty(); });
  if (!has_counts) return out;
  double low = members.front().low, high = members.front().high;
  for (const ValueSummary& own : members) {
    low = std::min(low, own.low);
    high = std::max(high, own.high);
  }
  std::vector<std::vector<double>> counts(mean.size());
  for (const ValueSummary& own : members) {
    for (size_t k = 0; k < own.counts.size(); ++k)
      add_to(moved(own.counts[k], own.low, own.high, low, high), counts[k]);
  }
  std::vector<Node> columns;
  for (const std::vector<double>& column : counts) columns.push_back(list_of(column));
  out["low"] = Node::number(low);
  out["high"] = Node::number(high);
  out["counts"] = Node::list(std::move(columns));
  return out;
}

// Bins of the same limits, with rows added up and means weighted by them.
Node joined_bins(const std::vector<Bin>& members) {
  std::map<std::pair<double, double>, std::vector<double>> bins;
  for (const Bin& bin : members)
    add_to({bin.rows, bin.rows * bin.confidence, bin.rows * bin.accuracy},
           bins[{bin.low, bin.high}]);
  std::vector<Node> out;
  for (const auto& [limits, sum] : bins) {
    const double rows = sum[0];
    const auto mean = [&](double total) {
      return rows == 0 ? Node::null() : Node::number(total / rows);
    };
    out.push_back(Node::list({Node::number(limits.first), Node::number(limits.second),
                              Node::number(rows), mean(sum[1]), mean(sum[2])}));
  }
  return Node::list(std::move(out));
}

// Of the members of a cell, by name.
struct CellRecords {
  std::map<std::pair<std::string, std::string>, std::vector<ValueSummary>> values;  // side, name
  std::map<std::string, std::vector<Bin>> reliability;                              // side
  std::map<std::string, std::vector<double>> routes;

  void add(const MemberResult& result, const std::string& source) {
    constexpr std::string_view kReliability = " reliability", kRoutes = "train routes ";
    int64_t last = 0;
    for (const RecordedMeans& each : result.records) last = std::max(last, each.step);
    const bool has_rows =
        std::any_of(result.records.begin(), result.records.end(), [](const RecordedMeans& each) {
          return each.step == 0 && !each.values.empty() && each.values.front() == '{';
        });
    for (const RecordedMeans& each : result.records) {
      const std::string where = source + ": " + each.name;
      const Node node = parse_json(each.values, where);
      const KeptNode record(node, where);
      if (each.name.ends_with(kReliability)) {
        const std::string side = each.name.substr(0, each.name.size() - kReliability.size());
        const std::vector<Bin> bins = bins_of(record);
        reliability[side].insert(reliability[side].end(), bins.begin(), bins.end());
      } else if (each.name.starts_with(kRoutes)) {
        add_to(numbers_of(record.items()), routes[each.name.substr(kRoutes.size())]);
      } else if (node.kind == Node::Kind::kMap) {
        const size_t space = each.name.find(' ');
        values[{each.name.substr(0, space), each.name.substr(space + 1)}].push_back(
            summary_of(record));
      } else if (each.step == last && (!has_rows || each.name.ends_with(".cosine"))) {
        values[{"eval", each.name}].push_back(summary_of(record));
      }
    }
  }
};

}  // namespace

std::string cell_name(const ResultCell& cell) {
  std::string name;
  for (const auto& [factor, value] : cell.factors) name += (name.empty() ? "" : ", ") + value;
  return name;
}

void check_records(const MemberResult& result, const std::string& source) {
  CellRecords().add(result, source);
}

Node recorded_node(const StudyStore& store, const StudyTable& table) {
  std::vector<Node> values, reliability, routes;
  for (const ResultCell& cell : table.cells) {
    CellRecords records;
    for (const size_t member : cell.members)
      records.add(store.result(member), "'" + store.path().string() + "': member " +
                                            quote(store.plan().members[member].name));
    const Node name = Node::text(cell_name(cell));
    for (const auto& [key, members] : records.values) {
      Node node = joined_node(members);
      node["cell"] = name;
      node["side"] = Node::text(key.first);
      node["name"] = Node::text(key.second);
      values.push_back(std::move(node));
    }
    for (const auto& [side, members] : records.reliability)
      reliability.push_back(
          Node::map({{"cell", name}, {"side", Node::text(side)}, {"bins", joined_bins(members)}}));
    for (const auto& [who, counts] : records.routes)
      routes.push_back(
          Node::map({{"cell", name}, {"name", Node::text(who)}, {"counts", list_of(counts)}}));
  }
  return Node::map({{"values", Node::list(std::move(values))},
                    {"reliability", Node::list(std::move(reliability))},
                    {"routes", Node::list(std::move(routes))}});
}

}  // namespace graft
