#include <algorithm>
#include <map>
#include <string_view>

#include "base/error.h"
#include "base/spelling.h"
#include "base/wording.h"
#include "edit/positions.h"
#include "interop/modules.h"
#include "interop/peft.h"
#include "interop/pickle.h"
#include "interop/pyreft.h"
#include "interop/rotations.h"
#include "model/families.h"

namespace graft {

namespace {

using at::Tensor;
namespace fs = std::filesystem;

constexpr const char* kHeadFile = "pytorch_model.bin";
constexpr size_t kFields = 14;  // of a representation
// Its fields by place; those that are null in every ReFT.
enum Field { kLayer, kComponent, kUnit, kUnits, kRank };
constexpr std::pair<size_t, const char*> kUnusedFields[] = {{5, "intervention_type"},
                                                            {6, "intervention"},
                                                            {7, "subspace_partition"},
                                                            {8, "group_key"},
                                                            {9, "intervention_link_key"},
                                                            {10, "moe_key"},
                                                            {11, "source_representation"},
                                                            {12, "hidden_source_representation"},
                                                            {13, "latent_dim"}};

// Older versions wrote dots where newer ones write underscores.
std::string with_underscores(std::string key) {
  std::replace(key.begin(), key.end(), '.', '_');
  return key;
}

struct Intervention {
  std::string key;  // with underscores
  int64_t layer = 0, set = 0;
};

class Reader {
 public:
  Reader(const Path& dir, const Model& model, const Node& json, const ImportAnswers& answers)
      : dir_(dir),
        model_(model),
        answers_(answers),
        config_(json, (dir / "config.json").string()) {}

  ForeignAdapter read() {
    // Of pyvene and of the library that its configurations come from; none says anything of the
    // interventions.
    ignore_fields(config_, {"model_type", "transformers_version", "intervention_constant_sources",
                            "intervention_dimensions", "architectures", "dtype", "torch_dtype"});
    config_.choice("mode", "parallel", {"parallel"});
    read_types();
    read_representations();
    check_keys();
    read_answers();
    if (std::string faults = faults_of(config_); !faults.empty()) throw InputError(faults);
    foreign_.origin = std::string("pyreft (") + kind_->name + ")";
    read_interventions();
    read_head();
    refuse_other_files();
    if (!faults_.empty()) throw InputError(faults_);
    return std::move(foreign_);
  }

 private:
  void note(const std::string& fault) { faults_ += (faults_.empty() ? "" : "\n") + fault; }

  // ---- config.json
  void read_types() {
    const std::vector<std::string> types = config_.texts("intervention_types", std::nullopt);
    for (const std::string& type : types) {
      if (type != types.front())
        return config_.fault("intervention_types",
                             "expected one class for all interventions, found " +
                                 quote(types.front()) + " and " + quote(type));
    }
    num_types_ = types.size();
    std::vector<std::string> known;
    for (const PyreftKind& kind : kPyreftKinds) {
      known.emplace_back(kind.name);
      if (!types.empty() && types.front().ends_with("." + std::string(kind.name) + "'>"))
        kind_ = &kind;
    }
    if (kind_ == nullptr)
      config_.fault("intervention_types", "expected " + joined(known, "or") + ", found " +
                                              (types.empty() ? "nothing" : quote(types.front())));
  }

  void read_representations() {
    const Node* list = config_.raw("representations");
    if (list == nullptr || list->kind != Node::Kind::kList || list->items.empty())
      return config_.fault("representations", "expected a list of interventions");
    if (num_types_ != list->items.size())
      config_.fault("intervention_types",
                    "expected one for each of " + std::to_string(list->items.size()) +
                        " representations, found " + std::to_string(num_types_));
    std::map<std::string, int64_t> seen;
    for (size_t i = 0; i < list->items.size(); ++i) {
      const Node& item = list->items[i];
      const auto fault = [&](const std::string& what) {
        config_.fault("representations", "number " + std::to_string(i) + ": " + what);
      };
      if (item.kind != Node::Kind::kList || item.items.size() != kFields) {
        fault("expected a list of " + std::to_string(kFields) + " fields, found " +
              std::to_string(item.items.size()));
        continue;
      }
      for (const auto& [place, name] : kUnusedFields) {
        if (!is_unused(&item.items[place]))
          fault(std::string(name) + " has no place here; expected null");
      }
      if (item.items[kUnit].scalar != "pos" || item.items[kUnits].scalar != "1")
        fault("expected unit pos and 1 unit, found " + item.items[kUnit].scalar + " and " +
              item.items[kUnits].scalar);
      if (rank_text_.empty()) rank_text_ = item.items[kRank].scalar;
      if (item.items[kRank].scalar != rank_text_)
        fault("expected low_rank_dimension " + rank_text_ + " as of the first, found " +
              item.items[kRank].scalar);
      const std::string component = item.items[kComponent].scalar;
      const std::optional<int64_t> layer = layer_of(component, item.items[kLayer].scalar);
      if (!layer) {
        fault("component " + quote(component) +
              ": only the output of a whole block is a place here (" + pyreft_component(model_, 0) +
              " or block_output)");
        continue;
      }
      const int64_t layers = model_.config.all_layers();
      if (*layer >= layers)
        fault("layer " + std::to_string(*layer) + ": the model has " + std::to_string(layers));
      const int64_t before = seen[component + "@" + std::to_string(*layer)]++;
      found_.push_back({pyreft_key(component, *layer, before), *layer, before});
    }
  }

  // The block whose output a component is.
  std::optional<int64_t> layer_of(const std::string& component, const std::string& layer) const {
    const std::string whole = pyreft_component(model_, 0);  // with a prefix, which may be missing
    const std::string prefix = family_of(model_.config).prefixes.front(),
                      kStart = whole.substr(prefix.size(), whole.find('[') + 1 - prefix.size()),
                      kEnd = "].output";
    const size_t start = component.rfind(kStart);
    const bool is_path = start != std::string::npos &&
                         (start == 0 || component[start - 1] == '.') && component.ends_with(kEnd) &&
                         component.size() >= start + kStart.size() + kEnd.size();
    if (is_path)
      return small_number(component.substr(start + kStart.size(),
                                           component.size() - kEnd.size() - start - kStart.size()));
    return component == "block_output" ? small_number(layer) : std::nullopt;
  }

  static std::optional<int64_t> small_number(const std::string& text) {
    constexpr int64_t kMost = 999'999;
    const std::optional<int64_t> number = whole_number(text);
    return number && *number >= 0 && *number <= kMost ? number : std::nullopt;
  }

  void check_keys() {
    if (is_unused(config_.raw("sorted_keys"))) return;
    std::vector<std::string> keys = config_.texts("sorted_keys", std::nullopt), own;
    for (std::string& key : keys) key = with_underscores(key);
    for (const Intervention& one : found_) own.push_back(one.key);
    std::sort(keys.begin(), keys.end()), std::sort(own.begin(), own.end());
    if (keys != own)
      config_.fault("sorted_keys", "expected the keys of the representations: " + joined(own));
  }

  void read_answers() {
    if (answers_.positions.empty()) {
      config_.fault("representations",
                    "pyreft does not write which tokens are edited: say so with " +
                        option_name("positions") + ", for instance " + option_name("positions") +
                        " f3, and " + option_name("untied") +
                        " where each side has tensors of its own");
      return;
    }
    try {
      positions_ = parse_positions(answers_.positions);
    } catch (const InputError& error) {
      config_.fault("representations", option_name("positions") + ": " + error.what());
      return;
    }
    const int64_t wanted = answers_.is_untied && positions_.is_two_sided() ? 2 : 1;
    std::map<int64_t, int64_t> counts;
    for (const Intervention& one : found_) counts[one.layer]++;
    for (const auto& [layer, count] : counts) {
      if (count == wanted) continue;
      return config_.fault(
          "representations",
          "layer " + std::to_string(layer) + " has " + std::to_string(count) + " " +
              plural(count, "intervention") + ", but positions " + answers_.positions +
              (answers_.is_untied ? ", untied," : "") + " make " + std::to_string(wanted) +
              (count == 2 && wanted == 1
                   ? ": give " + option_name("untied") + ", and positions of two sides"
                   : ""));
    }
  }

  // ---- the tensors
  void read_interventions() {
    const std::optional<int64_t> rank = small_number(rank_text_);
    if (!rank)
      throw InputError(config_.source() +
                       ": /representations: expected a low_rank_dimension, found " +
                       quote(rank_text_));
    rank_ = *rank;
    std::vector<Site> sites;
    for (const Intervention& one : found_) {
      if (one.set == 0) sites.push_back(out_of(one.layer));
    }
    std::sort(sites.begin(), sites.end(),
              [](const Site& a, const Site& b) { return a.index < b.index; });
    std::vector<std::pair<Intervention, ForeignTensors>> files;
    bool has_bias = false;
    for (const Intervention& one : found_) {
      const Path file = file_of(one.key);
      if (file.empty()) {
        note("'" + dir_.string() + "': holds no intkey_" + one.key + ".bin");
        continue;
      }
      files.emplace_back(one, ForeignTensors(load_torch_file(file), file.string()));
      has_bias |= kind_->subtracts && files.back().second.has("proj_layer.bias");
    }
    Node options = site_options(sites, model_.sites);
    options["rank"] = Node::integer(rank_);
    options["rotation"] = Node::boolean(kind_->has_rotation);
    options["source"] = Node::text(kind_->has_linear_source ? "linear" : "constant");
    options["subtract"] = Node::boolean(kind_->subtracts);
    options["projection_bias"] = Node::boolean(has_bias);
    options["positions"] = Node::text(answers_.positions);
    options["tied"] = Node::boolean(!answers_.is_untied);
    options["clamp"] = Node::text("code");
    if (!answers_.activation.empty()) options["activation"] = Node::text(answers_.activation);
    options["dropout_on"] = Node::text("output");
    const std::string path = foreign_.add("reft", std::move(options));
    const bool has_two = answers_.is_untied && positions_.is_two_sided();
    for (auto& [one, tensors] : files) {
      const std::string set = !has_two ? "tied." : one.set == 0 ? "prefix." : "suffix.";
      read_tensors(path + out_of(one.layer).name + "." + set, tensors, has_bias);
      try {
        tensors.finish("");
      } catch (const InputError& error) {
        note(error.what());
      }
    }
  }

  const Site& out_of(int64_t layer) const {
    return model_.sites.at({model_.config.last_stack(), static_cast<int16_t>(layer), Part::kOut});
  }

  void read_tensors(const std::string& ours, ForeignTensors& tensors, bool has_bias) {
    const int64_t width = model_.config.width;
    for (const char* size : {"embed_dim", "interchange_dim"}) {
      if (tensors.has(size)) tensors.drop(size);
    }
    const bool is_compact =
        std::string_view(kind_->name) == "LoreftIntervention";  // which writes Q, and no chart
    const std::string source = is_compact ? "" : "learned_source.";
    if (kind_->has_linear_source) {
      foreign_.put(ours + "weight", tensors.take(source + "weight", {rank_, width}));
      foreign_.put(ours + "bias", tensors.take(source + "bias", {rank_}));
    } else {
      foreign_.put(ours + "bias", tensors.take("learned_source", {rank_}));
    }
    if (!kind_->has_rotation) {
      foreign_.put(ours + "projection", tensors.take("proj_layer.weight", {rank_, width}));
      if (has_bias)
        foreign_.put(ours + "projection_bias", tensors.take("proj_layer.bias", {rank_}));
      else if (!kind_->subtracts && tensors.has("proj_layer.bias"))
        tensors.drop("proj_layer.bias");  // nobody reads it there either
      return;
    }
    Tensor q;
    if (is_compact) {
      q = tensors.take("rotate_layer", {width, rank_});
    } else {
      const Tensor original =
          tensors.take("rotate_layer.parametrizations.weight.original", {width, rank_});
      const Tensor base =
          tensors.take("rotate_layer.parametrizations.weight.0.base", {width, width});
      if (original.defined() && base.defined()) q = rotation_of_parametrization(original, base);
    }
    if (q.defined())
      put_rotation(tensors, ours, q, tensors.source() + ": rotate_layer", foreign_.tensors);
  }

  // The file of a key, in either way of writing keys; empty when there is none.
  Path file_of(const std::string& key) {
    for (const auto& entry : fs::directory_iterator(dir_)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("intkey_") || !name.ends_with(".bin")) continue;
      if (with_underscores(name.substr(7, name.size() - 11)) != key) continue;
      used_.push_back(name);
      return entry.path();
    }
    return {};
  }

  void refuse_other_files() {
    for (const auto& entry : fs::directory_iterator(dir_)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("intkey_") && std::find(used_.begin(), used_.end(), name) == used_.end())
        note("'" + entry.path().string() + "': belongs to no representation of config.json");
    }
  }

  // The classifier, where it was trained along.
  void read_head() {
    const Path file = dir_ / kHeadFile;
    std::error_code error;
    if (!fs::exists(file, error)) return;
    ForeignTensors tensors(load_torch_file(file), file.string());
    for (const auto& [ours, theirs] : family_of(model_.config).head_names)
      foreign_.put_head_layer(Adapter::kHeadPath + ours, theirs, model_.config, tensors);
    try {
      tensors.finish("");
    } catch (const InputError& fault) {
      note(fault.what());
    }
  }

  Path dir_;
  const Model& model_;
  ImportAnswers answers_;
  Options config_;
  const PyreftKind* kind_ = nullptr;
  size_t num_types_ = 0;
  std::vector<Intervention> found_;
  PositionChoice positions_;
  std::string rank_text_, faults_;
  int64_t rank_ = 0;
  std::vector<std::string> used_;
  ForeignAdapter foreign_;
};

}  // namespace

std::string pyreft_component(const Model& model, int64_t layer) {
  const Family& family = family_of(model.config);
  if (model.config.is_encoder_decoder()) {
    throw InputError("folders of pyreft are read and written for one stack of blocks; a " +
                     family.model_type + " model has two");
  }
  return family.prefixes.front() + blocks_path(family) + "[" + std::to_string(layer) + "].output";
}

std::string pyreft_key(const std::string& component, int64_t layer, int64_t before) {
  const bool is_path = component.find('.') != std::string::npos;
  return (is_path ? "comp_" + with_underscores(component)
                  : "layer_" + std::to_string(layer) + "_comp_" + component) +
         "_unit_pos_nunit_1#" + std::to_string(before);
}

ForeignAdapter read_pyreft(const Path& dir, const Model& model, const ImportAnswers& answers) {
  pyreft_component(model, 0);
  const Path file = dir / "config.json";
  const Node json = parse_json(read_file(file), file.string());
  return Reader(dir, model, json, answers).read();
}

}  // namespace graft
