#include "edit/adapter.h"

#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"

namespace graft {

using at::Tensor;

namespace {

// With a head the trunk is a classifier's: there is no layer over the vocabulary to train, which
// nothing would read.
ModelConfig config_under(bool has_head, ModelConfig config) {
  if (has_head) config.is_classifier = true;
  return config;
}

}  // namespace

Adapter::Adapter(const Node& definition, const std::string& source, const EditTarget& given,
                 const std::optional<Task>& task)
    : task_(task) {
  const bool has_head = given.has_head || (task && !task->is_answered_in_words());
  const ModelConfig config = config_under(has_head, given.config);
  const EditTarget target{config, given.sites, has_head};
  Options options(definition, source);
  const Node* edits = options.raw("edits");
  if (edits != nullptr && edits->kind != Node::Kind::kList && edits->kind != Node::Kind::kNull)
    options.fault("edits", "expected a list of edits");
  Options& head = options.section("head");
  if (task) make_head(head, target.config);
  else head.ignore("pooler"), head.ignore("dropout"), head.ignore("trains");
  std::string faults;
  const auto collect = [&faults](const std::function<void()>& read) {
    try {
      read();
    } catch (const InputError& error) {
      faults += (faults.empty() ? "" : "\n") + std::string(error.what());
    }
  };
  collect([&] { options.finish(); });
  for (size_t i = 0; edits != nullptr && i < edits->items.size(); ++i) {
    collect([&] {
      add_part(make_edit(edits->items[i], target, source, "/edits/" + std::to_string(i)));
    });
  }
  collect([&] { check_rows(source); });
  collect([&] { check_pooler(source, target.sites.pooler(), has_head); });
  if (faults.empty()) collect([&] { check_subspace_column(source); });
  collect([&] { check_prompt_losses(source); });
  if (!faults.empty()) throw InputError(faults);
}

Adapter::Adapter(EditList edits, const EditTarget& target, const std::optional<Task>& task)
    : task_(task) {
  const Node defaults;
  Options options(defaults, "head");
  if (task) make_head(options, target.config);
  for (std::unique_ptr<Edit>& edit : edits) add_part(std::move(edit));
}

void Adapter::add_part(std::unique_ptr<Edit> edit) {
  std::string path = std::to_string(parts_.size()) + "." + edit->method() + "/";
  Part& part = parts_.emplace_back(Part{std::move(path), std::move(edit), {}});
  for (const ParamSpec& param : part.spec().params) part.names.push_back(part.path + param.name);
}

// One prompt and one kind of padding at most, and one prefix at a site: there is one place for
// each.
void Adapter::check_rows(const std::string& source) const {
  std::map<int64_t, std::string> prefixed;
  for (size_t i = 0; i < parts_.size(); ++i) {
    for (size_t k = 0; k < i; ++k) check_claims(source, parts_[k], parts_[i]);
  }
  for (const Part& part : parts_) {
    for (const Site& site : part.spec().sites) {
      if (site.kind != SiteKind::kAttention) continue;
      const auto [found, is_new] = prefixed.emplace(site.index, part.path);
      if (!is_new)
        throw InputError(source + ": two edits put a prefix at " + site.name + " (" +
                         found->second + " and " + part.path +
                         "): make one of them longer instead");
    }
    if (part.spec().traits.layout.virtual_rows > 0 &&
        part.spec().traits.layout.virtual_rows != layout().virtual_rows) {
      throw InputError(
          source + ": two edits put a prompt before the tokens: make one of them longer instead");
    }
    const int64_t padded = part.spec().traits.layout.padded_length;
    if (padded > 0 && padded != layout().padded_length)
      throw InputError(source + ": gates that pad to different lengths (" + std::to_string(padded) +
                       " and " + std::to_string(layout().padded_length) + "): give them one");
  }
}

// Interventions of one layer have positions of their own (Wu et al. 2024, arXiv:2404.03592, sec.
// 3.3).
void Adapter::check_claims(const std::string& source, const Part& a, const Part& b) const {
  for (const TokenClaim& one : a.spec().claims) {
    for (const TokenClaim& other : b.spec().claims) {
      if (!share_a_token(one, other)) continue;
      throw InputError(source + ": two edits change the same tokens at " + to_name(one.site) +
                       " (" + a.path + " and " + b.path +
                       "): give them other positions, layers or sites, or make one of them wider");
    }
  }
}

// An edit of the layer under a classifier needs a head that reads it, and the model's own to
// change. (Without a head a pooler is still computed, and a head for masks is not.)
void Adapter::check_pooler(const std::string& source, const Site& pooler, bool has_head) const {
  if (pooler.index < 0 || !changes(pooler)) return;
  const bool is_pooler = pooler == kPoolerPlace;
  const std::string leave_out = "leave " + pooler.name + " out of the sites";
  if (!has_head && !is_pooler)
    throw InputError(source + ": " + pooler.name + " is read by a classifier alone: " + leave_out);
  if (head_ == nullptr) return;
  if (!head_->reads_layer())
    throw InputError(source + ": a cloze reads the row of a mask and " +
                     (is_pooler ? "no pooler: " : "its head for masks as it is: ") + leave_out);
  if (head_->trains_pooler())
    throw InputError(source + ": head.pooler: trained takes the place of the " +
                     (is_pooler ? "pooler" : "head for masks") +
                     " that an edit changes: set it to frozen, or " + leave_out);
}

Traits Adapter::traits() const {
  Traits out = {.acts_on = ActsOn::kPrompt,
                .acts = Acts::kReplacesWeights,
                .identity_at_init = true};  // of no edit
  for (const Part& part : parts_) out = join(out, part.spec().traits);
  return out;
}

RowLayout Adapter::layout() const { return traits().layout; }

namespace {

constexpr const char* kNoSubspace =
    "no edit of the adapter acts in a subspace; take reft, or leave subspace out of the task "
    "(task_options: {subspace: null})";

}  // namespace

void Adapter::check_subspace_column(const std::string& source) const {
  if (!task_ || !task_->subspace_column || traits().subspace) return;
  throw InputError(source + ": task " + quote(task_->name) + " has a column of subspaces, " +
                   quote(*task_->subspace_column) + ", and " + kNoSubspace);
}

void Adapter::check_prompt_losses(const std::string& source) const {
  if (!task_ || task_->kind() != TaskKind::kGeneration ||
      task_->at<Generation>().loss != LossOn::kAll)
    return;
  for (const Part& part : parts_) {
    // What collects states reads them for records alone.
    if (part.spec().params.empty() || part.spec().traits.reads < Reads::kPrompt) continue;
    throw InputError(source + ": a gate of edit " + quote(part.path) +
                     " reads the prompt, whose tokens the task " + quote(task_->name) +
                     " counts in its loss (loss: all), so that a token would see those that "
                     "follow it: give the gate pool: causal_mean where it has it, or the task "
                     "loss: target");
  }
}

void Adapter::check_subspaces(const std::vector<Example>& examples) const {
  const std::optional<std::vector<int64_t>> rows = traits().subspace;
  for (const Example& example : examples) {
    for (const int64_t row : example.subspace) {
      if (!rows) throw InputError(example.where() + "the row has a subspace, and " + kNoSubspace);
      if (std::binary_search(rows->begin(), rows->end(), row)) continue;
      std::vector<std::string> shown;
      for (const int64_t each : *rows) shown.push_back(std::to_string(each));
      const bool is_range = !rows->empty() && rows->back() + 1 == std::ssize(*rows);
      throw InputError(example.where() + "subspace: expected rows that the adapter has, " +
                       (is_range ? "0.." + shown.back() : joined_first(shown, 10)) + ", found " +
                       std::to_string(row));
    }
  }
}

void Adapter::make_head(Options& options, const ModelConfig& config) {
  if (task_->is_answered_in_words()) {
    options.ignore("pooler");
    options.ignore("dropout");
    options.ignore("trains");
    return;
  }
  head_ = std::make_unique<Head>(options, config,
                                 task_->kind() == TaskKind::kRegression ? 1 : task_->num_labels(),
                                 task_->cloze() != nullptr);
  for (const ParamSpec& param : head_->params()) head_names_.push_back(kHeadPath + param.name);
}

Node Adapter::describe() const {
  Node out = Node::map();
  std::vector<Node> edits;
  for (const Part& part : parts_) edits.push_back(part.edit->describe());
  out["edits"] = Node::list(std::move(edits));
  if (head_) out["head"] = head_->describe();
  return out;
}

namespace {

TensorList listed(const std::vector<std::string>& names, const NamedTensors& stored) {
  TensorList out;
  for (const std::string& name : names) {
    const auto found = stored.find(name);
    if (found == stored.end()) throw InternalError("no tensor '" + name + "'");
    out.append(found->second);
  }
  return out;
}

void put_named(const TensorList& values, const std::vector<std::string>& names, NamedTensors& out) {
  for (size_t i = 0; i < names.size(); ++i) out[names[i]] = values[param_at(i)];
}

}  // namespace

std::vector<ParamSpec> Adapter::params() const {
  std::vector<ParamSpec> out;
  const auto add = [&](const std::vector<ParamSpec>& params,
                       const std::vector<std::string>& names) {
    for (size_t i = 0; i < params.size(); ++i) out.emplace_back(params[i]).name = names[i];
  };
  for (const Part& part : parts_) add(part.spec().params, part.names);
  if (head_) add(head_->params(), head_names_);
  return out;
}

NamedTensors Adapter::init(const Weights& weights, RandomKey key) const {
  NamedTensors out;
  for (const Part& part : parts_)
    put_named(part.edit->init(weights, key.with(part.path)), part.names, out);
  if (head_) put_named(head_->init(weights, key.with(kHeadPath)), head_names_, out);
  for (const ParamSpec& param : params()) {
    ensure(out.at(param.name).sizes() == at::IntArrayRef(param.shape),
           "initial value of the declared shape: " + param.name);
    if (param.role == Role::kTrained) out.at(param.name).requires_grad_(true);
  }
  return out;
}

void Adapter::draw(NamedTensors& tensors, const Weights& weights) const {
  for (const ParamSpec& param : params()) {
    if (param.role == Role::kDrawn) tensors[param.name] = param.initial_value(weights, RandomKey{});
  }
}

TensorList Adapter::stored_of(size_t part, const NamedTensors& stored) const {
  return listed(parts_[part].names, stored);
}

AdapterTensors Adapter::derive(const NamedTensors& stored, const Weights& weights,
                               Experts experts) const {
  AdapterTensors out;
  out.parts.resize(parts_.size());
  const auto derive_parts = [&](bool replace_weights, const Weights& beside) {
    for (size_t i = 0; i < parts_.size(); ++i) {
      const Edit& edit = *parts_[i].edit;
      if ((edit.spec().traits.acts == Acts::kReplacesWeights) != replace_weights) continue;
      const TensorList own = stored_of(i, stored);
      out.parts[i] = edit.derive(Params(own), beside, experts);
    }
  };
  derive_parts(true, weights);
  if (head_)
    out.head =
        listed(head_names_, stored);  // the head computes in float32 whatever the trunk's dtype
  // DoRA leaves the bias of its layer unstretched, be it one that another part trains.
  derive_parts(false, rewrites_trunk() ? rewritten(out, weights) : weights);
  return out;
}

Weights Adapter::rewritten(const AdapterTensors& derived, const Weights& weights) const {
  TrunkTensors replaced;
  const auto add = [&](const TrunkTensors& tensors) {
    for (const auto& [id, tensor] : tensors) {
      if (!replaced.emplace(id, tensor).second)
        throw InputError("two parts of the adapter train '" + to_name(id) +
                         "': leave one of them out");
    }
  };
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].spec().traits.acts == Acts::kReplacesWeights)
      add(parts_[i].edit->rewrite(Params(derived.parts[i]), weights));
  }
  if (head_) add(head_->rewrite(Params(derived.head)));
  return replaced.empty() ? weights : weights.with(std::move(replaced));
}

Adapter Adapter::none(const EditTarget& target, const std::optional<Task>& task) {
  return {Node::map(), "no adapter", target, task};
}

bool Adapter::Part::acts_at(const Site& site) const {
  return std::any_of(spec().sites.begin(), spec().sites.end(),
                     [&](const Site& own) { return own.index == site.index; });
}

bool Adapter::changes(const Site& site) const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [&](const Part& part) { return part.acts_at(site); });
}

bool Adapter::changes_rows() const {
  return std::any_of(parts_.begin(), parts_.end(), [](const Part& part) {
    const auto has_rows = [](const Site& site) { return site.kind != SiteKind::kAttention; };
    return part.spec().traits.acts != Acts::kReplacesWeights &&
           std::any_of(part.spec().sites.begin(), part.spec().sites.end(), has_rows);
  });
}

bool Adapter::rewrites_trunk() const {
  return std::any_of(parts_.begin(), parts_.end(), [](const Part& part) {
    return part.spec().traits.acts == Acts::kReplacesWeights;
  });
}

}  // namespace graft
