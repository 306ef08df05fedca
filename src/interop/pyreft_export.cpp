#include <ATen/ops/tensor.h>

#include <map>

#include "base/error.h"
#include "base/spelling.h"
#include "edit/positions.h"
#include "edit/rotation.h"
#include "interop/pyreft.h"
#include "interop/rotations.h"
#include "interop/torch_writer.h"
#include "model/families.h"

namespace graft {

namespace {

using at::Tensor;

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw InputError("the adapter cannot be exported to pyreft: " +
                   (path.empty() ? "" : path.substr(0, path.size() - 1) + ": ") + why);
}

// The options of the adapter's one edit.
Node reft_options(const Adapter& adapter) {
  if (adapter.parts().empty()) refuse("", "it changes nothing but the head");
  for (const Adapter::Part& part : adapter.parts()) {
    const std::string kind = part.edit->method();
    if (kind != "reft")
      refuse(part.path, "pyreft has no " + kind + "; it keeps edits of hidden states (reft)");
  }
  if (adapter.parts().size() > 1)
    refuse(adapter.parts()[1].path, "pyreft is written with one reft in a folder");
  return *adapter.parts().front().edit->describe().find("reft");
}

const PyreftKind& kind_of_options(const Node& options) {
  for (const PyreftKind& kind : kPyreftKinds) {
    const bool is_linear = word_in(options, "source") == "linear";
    if (kind.has_rotation == is_true(options, "rotation") && kind.has_linear_source == is_linear &&
        kind.subtracts == is_true(options, "subtract"))
      return kind;
  }
  refuse("", "pyreft has no constant source without a rotation");
}

void check(const Adapter::Part& part, const Node& options, const PyreftKind& kind) {
  if (!kind.has_rotation) {
    refuse(part.path, std::string("pyreft 0.1.0 cannot open a ") + kind.name +
                          " that it saved: its reader does not give add_bias, which the class asks "
                          "for; " +
                          option_name("to") + " adapterhub has this edit");
  }
  if (word_in(options, "clamp") != "code")
    refuse(part.path,
           "pyreft shortens positions for short texts by its own rule: expected clamp code, as it "
           "must be trained, found " +
               word_in(options, "clamp"));
  if (parse_positions(word_in(options, "positions")).is_all)
    refuse(part.path, "pyreft edits first and last tokens, not all");
  if (!options.find("subspace")->items.empty())
    refuse(part.path, "pyreft is told of subspaces with the data; the folder cannot hold them");
  for (const Site& site : part.spec().sites) {
    if (site.part != Part::kOut)
      refuse(part.path,
             "pyreft is written with edits behind whole blocks (out); found " + site.name);
  }
}

// A representation's fourteen fields.
Node representation(const std::string& component, int64_t layer, int64_t rank) {
  std::vector<Node> fields = {Node::integer(layer), Node::text(component), Node::text("pos"),
                              Node::integer(1), Node::integer(rank)};
  fields.resize(14, Node::null());
  return Node::list(std::move(fields));
}

// What pyreft saves of an intervention: LoReFT the rotation itself, the others its parametrization
// and two sizes.
NamedTensors intervention(const NamedTensors& stored, const std::string& ours,
                          const PyreftKind& kind) {
  const Tensor q = rotation_of(stored.at(ours + "chart").to(at::kDouble),
                               stored.at(ours + "base").to(at::kDouble))
                       .to(at::kFloat)
                       .contiguous();  // [C,R]
  if (std::string_view(kind.name) == "LoreftIntervention")
    return {{"weight", stored.at(ours + "weight")},
            {"bias", stored.at(ours + "bias")},
            {"rotate_layer", q}};
  const Tensor width = at::tensor(q.size(0), at::kLong).squeeze();
  NamedTensors out = {
      {"embed_dim", width},
      {"interchange_dim", width},
      {"rotate_layer.parametrizations.weight.original", initial_chart(q.size(0), q.size(1))},
      {"rotate_layer.parametrizations.weight.0.base", completed(q)}};
  if (kind.has_linear_source) out["learned_source.weight"] = stored.at(ours + "weight");
  out[kind.has_linear_source ? "learned_source.bias" : "learned_source"] = stored.at(ours + "bias");
  return out;
}

NamedTensors head_tensors(const Adapter& adapter, const NamedTensors& tensors,
                          const Family& family) {
  if (adapter.head()->trains_pooler())
    refuse("head/",
           "pyreft's classifier has the model's own pooler: a trained one would be a change of the "
           "model");
  return head_named(adapter, tensors, family.head_names);
}

}  // namespace

ImportAnswers pyreft_answers(const Adapter& adapter) {
  const Node options = reft_options(adapter);
  const bool is_untied =
      !is_true(options, "tied") && parse_positions(word_in(options, "positions")).is_two_sided();
  return {.positions = word_in(options, "positions"),
          .is_untied = is_untied,
          .activation = word_in(options, "activation")};
}

void write_pyreft(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                  const Model& model) {
  const Family& family = family_of(model.config);
  pyreft_component(model, 0);  // refuses a model of two stacks
  const at::NoGradGuard no_grad;
  const Node options = reft_options(adapter);
  const Adapter::Part& part = adapter.parts().front();
  const PyreftKind& kind = kind_of_options(options);
  check(part, options, kind);
  NamedTensors head;
  if (adapter.head() != nullptr) head = head_tensors(adapter, tensors, family);

  const ImportAnswers answers = pyreft_answers(adapter);
  const int64_t rank = integer_in(options, "rank");
  const std::vector<std::string> sets = answers.is_untied
                                            ? std::vector<std::string>{"prefix.", "suffix."}
                                            : std::vector<std::string>{"tied."};
  std::vector<Node> representations, types, keys, widths, constants;
  std::map<std::string, NamedTensors> files;
  for (size_t set = 0; set < sets.size(); ++set) {
    for (const Site& site : part.spec().sites) {
      const std::string component = pyreft_component(model, site.layer);
      const std::string key = pyreft_key(component, site.layer, static_cast<int64_t>(set));
      representations.push_back(representation(component, site.layer, rank));
      types.push_back(Node::text(std::string("<class 'pyreft.interventions.") + kind.name + "'>"));
      keys.push_back(Node::text(key));
      widths.push_back(Node::integer(model.config.width));
      constants.push_back(Node::boolean(true));  // as every class of pyreft says of itself
      files["intkey_" + key + ".bin"] =
          intervention(tensors, part.path + site.name + "." + sets[set], kind);
    }
  }
  make_directories(dir);
  for (const auto& [name, own] : files) save_torch_file(dir / name, own);
  if (!head.empty()) save_torch_file(dir / "pytorch_model.bin", head);
  const Node config = Node::map({{"intervention_constant_sources", Node::list(constants)},
                                 {"intervention_dimensions", Node::list(widths)},
                                 {"intervention_types", Node::list(types)},
                                 {"mode", Node::text("parallel")},
                                 {"representations", Node::list(representations)},
                                 {"sorted_keys", Node::list(keys)}});
  write_file_atomically(dir / "config.json", to_json(config) + "\n");
}

}  // namespace graft
