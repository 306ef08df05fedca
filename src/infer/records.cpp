#include "infer/records.h"

#include <ATen/ops/histc.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

namespace graft {

using at::Tensor;

namespace {

constexpr std::string_view kTokens = ".tokens";  // of a record by token

Tensor finite(const Tensor& values) { return values.masked_select(values.isfinite()); }

}  // namespace

void keep_records(const std::vector<SideOutput>& recorded, const std::vector<int64_t>& group,
                  int64_t rows, Records& records) {
  const Tensor index = at::tensor(group, at::kLong);
  for (const auto& [name, values, lane] : recorded) {
    if (name.ends_with(kTokens)) {
      auto& all = records.tokens[name.substr(0, name.size() - kTokens.size())];
      all.resize(static_cast<size_t>(rows));
      const Tensor sequence = values.select(1, 0);
      for (size_t n = 0; n < group.size(); ++n) {
        const Tensor own = sequence.eq(static_cast<double>(n)).nonzero().squeeze(1);
        all[static_cast<size_t>(group[n])] = values.index_select(0, own).slice(1, 1);
      }
      continue;
    }
    const Tensor wide =
        (values.dim() == 1 ? values.unsqueeze(1) : values).to(at::kFloat);  // [N, K]
    Tensor& all = records.rows[name];
    if (!all.defined()) all = at::zeros({rows, wide.size(1)}, at::kFloat);
    all.index_copy_(0, index, wide);
  }
}

Node id_node(const Example& example) {
  return example.id_is_number ? Node::plain(example.id_text) : Node::text(example.id_text);
}

Node number_list(const Tensor& values) {
  const Tensor numbers = values.to(at::kFloat).contiguous();
  const float* const first = numbers.const_data_ptr<float>();
  std::vector<Node> items;
  for (int64_t i = 0; i < numbers.numel(); ++i)
    items.push_back(std::isfinite(first[i]) ? Node::number(first[i]) : Node::null());
  return Node::list(std::move(items));
}

std::vector<double> doubles_of(const Tensor& values) {
  const Tensor wide = values.to(at::kDouble).contiguous();
  const auto* const first = wide.const_data_ptr<double>();
  return {first, first + wide.numel()};
}

std::string record_lines(const Dataset& data, const Records& records) {
  std::string lines;
  for (int64_t i = 0; i < data.size(); ++i) {
    const auto row = static_cast<size_t>(i);
    const auto line_of = [&](const std::string& name) {
      return Node::map({{"id", id_node(data.examples[row])},
                        {"tokens", Node::integer(std::ssize(data.sequences[row].ids))},
                        {"name", Node::text(name)}});
    };
    for (const auto& [name, values] : records.rows) {
      Node line = line_of(name);
      line["values"] = number_list(values[i]);
      lines += to_json(line, -1) + "\n";
    }
    for (const auto& [name, by_row] : records.tokens) {
      std::vector<Node> places, values;
      for (int64_t t = 0; t < by_row[row].size(0); ++t) {
        places.push_back(Node::integer(by_row[row][t][0].item<int64_t>()));
        values.push_back(number_list(by_row[row][t].slice(0, 1)));
      }
      Node line = line_of(name + std::string(kTokens));
      line["places"] = Node::list(std::move(places));
      line["values"] = Node::list(std::move(values));
      lines += to_json(line, -1) + "\n";
    }
  }
  return lines;
}

Node records_summary(const Records& records) {
  constexpr int64_t kBins = 20;
  Node out = Node::map();
  for (const auto& [name, values] : records.rows) {
    const Tensor all = finite(values);
    const double low = all.numel() > 0 ? all.min().item<double>() : 0,
                 high = all.numel() > 0 ? all.max().item<double>() : 0;
    std::vector<Node> counts;
    for (int64_t k = 0; k < values.size(1); ++k) {
      std::vector<Node> own;
      const Tensor bins = at::histc(finite(values.select(1, k)), kBins, low, high);
      for (int64_t b = 0; b < kBins; ++b)
        own.push_back(Node::integer(std::lround(bins[b].item<double>())));
      counts.push_back(Node::list(std::move(own)));
    }
    out[name] = Node::map({{"mean", number_list(values.mean(0))},
                           {"low", Node::number(static_cast<float>(low))},
                           {"high", Node::number(static_cast<float>(high))},
                           {"counts", Node::list(std::move(counts))}});
  }
  return out;
}

}  // namespace graft
