#include "cli/records.h"

namespace graft {

Node number_list(const at::Tensor& values) {
  std::vector<Node> items;
  for (int64_t i = 0; i < values.numel(); ++i)
    items.push_back(Node::number(values[i].item<float>()));
  return Node::list(std::move(items));
}

Node id_node(const Example& example) {
  return example.id_is_number ? Node::plain(example.id_text) : Node::text(example.id_text);
}

std::string record_lines(const Dataset& data, const NamedTensors& records) {
  std::string lines;
  for (int64_t i = 0; i < data.size(); ++i) {
    const auto row = static_cast<size_t>(i);
    const auto tokens = static_cast<int64_t>(data.sequences[row].ids.size());
    for (const auto& [name, values] : records) {
      lines += to_json(Node::map({{"id", id_node(data.examples[row])},
                                  {"tokens", Node::integer(tokens)},
                                  {"name", Node::text(name)},
                                  {"values", number_list(values[i])}}),
                       -1) +
               "\n";
    }
  }
  return lines;
}

}  // namespace graft
