#include "data/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/options.h"
#include "base/random.h"

namespace graft {

namespace {

constexpr int64_t kMostRows = int64_t{1} << 40;

// The rows of one part, in an order that is drawn anew on every pass.
class PartRows {
 public:
  PartRows(int64_t size, RandomKey key) : size_(size), key_(key) {}

  int64_t next() {
    if (at_ == order_.size()) {
      order_ = permutation(size_, key_.with(pass_++));
      at_ = 0;
    }
    return order_[at_++];
  }

 private:
  int64_t size_;
  RandomKey key_;
  uint64_t pass_ = 0;
  std::vector<int64_t> order_;  // made when the part is first drawn
  size_t at_ = 0;
};

}  // namespace

std::vector<MixturePart> parse_mixture(const Node& list, const std::string& source,
                                       const std::string& path) {
  if (list.kind != Node::Kind::kList || list.items.empty())
    throw InputError(source + ": " + path + ": expected a list of {name, task, data}");
  std::vector<MixturePart> parts;
  std::set<std::string> names;
  Node items =
      Node::map();  // one reader over all parts, so that all their faults are thrown at once
  for (size_t i = 0; i < list.items.size(); ++i) items[std::to_string(i)] = list.items[i];
  Options all(items, source, path);
  for (size_t i = 0; i < list.items.size(); ++i) {
    Options& options = all.section(std::to_string(i));
    MixturePart part;
    part.name = options.text("name", std::nullopt);
    part.task = options.text("task", std::nullopt);
    part.data = options.text("data", std::nullopt);
    if (options.has("rate")) part.rate = options.number("rate", std::nullopt, 1e-12, 1e12);
    if (options.has("cap")) part.cap = options.integer("cap", std::nullopt, 1, kMostRows);
    part.templates = options.integer("templates", 1, 1, 100000);
    if (part.rate && part.cap) options.fault("cap", "a rate is not capped; remove one of the two");
    if (!part.cap && part.templates > 1)
      options.fault("templates", "templates share a cap; give one");
    if (!names.insert(part.name).second)
      options.fault("name", "the name " + quote(part.name) + " appears twice");
    parts.push_back(std::move(part));
  }
  all.finish();
  return parts;
}

Node mixture_to_node(const std::vector<MixturePart>& parts) {
  Node list = Node::list();
  for (const MixturePart& part : parts) {
    Node node = Node::map();
    node["name"] = Node::text(part.name);
    node["task"] = Node::text(part.task);
    node["data"] = Node::text(part.data);
    if (part.rate) node["rate"] = Node::number(*part.rate);
    if (part.cap) node["cap"] = Node::integer(*part.cap);
    node["templates"] = Node::integer(part.templates);
    list.items.push_back(std::move(node));
  }
  return list;
}

std::vector<double> mixture_rates(const std::vector<MixturePart>& parts,
                                  const std::vector<int64_t>& sizes) {
  ensure(parts.size() == sizes.size(), "mixture_rates: one size for each part");
  std::vector<double> rates;
  for (size_t i = 0; i < parts.size(); ++i) {
    const MixturePart& part = parts[i];
    if (sizes[i] < 1) throw InputError("mixture: part '" + part.name + "' has no rows");
    const int64_t counted =
        part.cap && sizes[i] > *part.cap ? *part.cap / part.templates : sizes[i];
    if (!part.rate && counted == 0) {
      throw InputError("mixture: part '" + part.name + "' would never be drawn: its cap of " +
                       std::to_string(*part.cap) + " is shared by " +
                       std::to_string(part.templates) + " templates");
    }
    rates.push_back(part.rate.value_or(static_cast<double>(counted)));
  }
  return rates;
}

std::vector<MixtureRow> mixture_epoch(const std::vector<int64_t>& sizes,
                                      const std::vector<double>& rates, int64_t length,
                                      uint64_t seed, int64_t epoch) {
  ensure(!sizes.empty() && sizes.size() == rates.size() && length >= 1,
         "mixture_epoch: one rate for each part, at least one row");
  const RandomKey key = RandomKey{}.with(seed).with("mixture").with(static_cast<uint64_t>(epoch));
  std::vector<double> ends(rates.size());  // part i is drawn below ends[i]
  std::partial_sum(rates.begin(), rates.end(), ends.begin());
  std::vector<PartRows> parts;
  for (size_t i = 0; i < sizes.size(); ++i)
    parts.emplace_back(sizes[i], key.with("rows").with(static_cast<uint64_t>(i)));
  Random draws(key.with("parts"));
  std::vector<MixtureRow> out;
  out.reserve(static_cast<size_t>(length));
  for (int64_t k = 0; k < length; ++k) {
    const auto drawn =
        std::upper_bound(ends.begin(), ends.end() - 1,
                         draws.uniform() * ends.back());  // rounding never leads past the last
    const auto part = static_cast<size_t>(drawn - ends.begin());
    out.push_back({static_cast<int64_t>(part), parts[part].next()});
  }
  return out;
}

}  // namespace graft
