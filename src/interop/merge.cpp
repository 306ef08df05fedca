#include "interop/merge.h"

#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "edit/combinator.h"
#include "edit/lane_results.h"
#include "edit/registry.h"
#include "infer/predict.h"
#include "interop/model_folder.h"
#include "interop/probes.h"

namespace graft {

using at::Tensor;
namespace fs = std::filesystem;

namespace {

// The answers to all probes together: logits, or the last states of an encoder without a head.
Tensor answers(const Model& model, const Adapter& adapter, const NamedTensors& tensors,
               const std::vector<Sequence>& probes) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(model, adapter, tensors);
  std::vector<Tensor> out;
  for (const Sequence& probe : probes) {  // one by one: no probe depends on how they are batched
    if (model.config.has_decoder() && adapter.head() == nullptr) {
      out.push_back(token_logits(model, bound, probe));
      continue;
    }
    const Pack pack = make_pack({{{&probe}, adapter.layout()}}, pack_options(model));
    if (adapter.head() != nullptr) {
      out.push_back(compute_logits(model, pack, {{&bound, {}}}, {}).front().logits.to(at::kFloat));
      continue;
    }
    const ForwardResult result =
        forward_lanes(model, input_of(model.config, pack), {{&bound, {}}}, {});
    out.push_back(result.last.slice(0, 0, pack.num_tokens).to(at::kFloat));
  }
  return at::cat(out);
}

// The head alone, over a base that the rest was folded into.
NamedTensors head_tensors(const LoadedAdapter& loaded, const Adapter& bare) {
  NamedTensors out;
  for (const ParamSpec& param : bare.params()) out[param.name] = loaded.tensors.at(param.name);
  return out;
}

Node bare_definition(const Adapter& adapter) {
  Node head = adapter.describe();
  std::erase_if(head.members, [](const auto& member) { return member.first != "head"; });
  if (Node* options = head.find("head") == nullptr ? nullptr : &head["head"];
      options != nullptr && options->find("pooler") != nullptr) {
    (*options)["pooler"] = Node::text("frozen");  // a trained one was folded in
  }
  return head;
}

Node report_node(const MergeReport& report, const MergeOptions& options,
                 const LoadedAdapter& loaded) {
  Node node = Node::map({{"version", Node::integer(1)},
                         {"adapter", loaded.adapter.describe()},
                         {"precision", Node::text(word_of(kPrecisions, options.precision))},
                         {"probes", Node::integer(report.probes)},
                         {"largest_drift", Node::number(report.largest)},
                         {"mean_drift", Node::number(report.mean)},
                         {"largest_value", Node::number(report.largest_value)},
                         {"max_drift", Node::number(options.max_drift)}});
  if (loaded.adapter.task())
    node["task"] = task_to_node(*loaded.adapter.task());  // what its own head will answer
  return node;
}

// "merged/" and "merged/." name the folder merged; an unfinished one lies beside it, not inside.
Path without_slash(Path out) {
  while (out.has_relative_path() && out.has_parent_path() &&
         (!out.has_filename() || out.filename() == "."))
    out = out.parent_path();
  return out;
}

}  // namespace

std::vector<std::string> merge_faults(const Adapter& adapter) {
  std::vector<std::string> faults;
  for (const Adapter::Part& part : adapter.parts()) {
    if (part.spec().traits.acts == Acts::kInForward)
      faults.push_back(part.path.substr(0, part.path.size() - 1) +
                       " cannot be folded into weights: " + method_of(*part.edit).no_fold);
  }
  return faults;
}

NamedTensors merged_tensors(const LoadedAdapter& loaded, const Model& model) {
  const std::vector<std::string> faults = merge_faults(loaded.adapter);
  if (!faults.empty())
    throw InputError(joined(faults, "and") +
                     "; keep the adapter beside its base (graft predict runs both)");
  const at::NoGradGuard no_grad;
  const AdapterTensors derived = loaded.adapter.derive(loaded.tensors, model.weights);
  NamedTensors base = model.weights.all_base();
  const auto fold = [&](const TrunkTensors& folded) {
    for (const auto& [id, tensor] : folded) base[to_name(id)] = tensor.to(at::kFloat);
  };
  const std::vector<Adapter::Part>& parts = loaded.adapter.parts();
  const auto current = [&] { return Weights(model.config, base, Precision::kFloat32); };
  const auto fold_outputs = [&](bool replaces) {
    for (size_t i = 0; i < parts.size(); ++i) {
      if ((parts[i].spec().traits.acts == Acts::kReplacesWeights) == replaces)
        fold(parts[i].edit->rewrite(Params(derived.parts[i]), current()));
    }
  };
  fold_outputs(true);
  fold_outputs(false);
  // What stands behind a layer sees its input as the activations' edits left it. So these come
  // behind, the last of them first: W (s2 (s1 x + t1) + t2) is W s2 applied to s1 x + t1, and W t2.
  for (size_t i = parts.size(); i-- > 0;)
    fold(parts[i].edit->rewrite_readers(Params(derived.parts[i]), current()));
  if (const Head* head = loaded.adapter.head()) fold(head->rewrite(Params(derived.head)));
  return base;
}

MergeReport merge_adapter(const LoadedAdapter& loaded, const Model& model, const Path& base,
                          const std::vector<Sequence>& probes, const Path& out,
                          const MergeOptions& options) {
  ensure(model.weights.dtype() == at::kFloat, "merging starts from a float32 trunk");
  const Path folder = without_slash(out);
  if (fs::exists(folder))
    throw InputError(option_name("out") + ": '" + out.string() +
                     "' is there already; choose a new folder");
  NamedTensors merged = merged_tensors(loaded, model);
  const Path unfinished = folder.string() + ".unfinished." + std::to_string(getpid());
  MergeReport report;
  try {
    write_model_folder(unfinished, base, model.config, merged, loaded,
                       scalar_type(options.precision));
    const auto written =
        load_model(unfinished, options.precision, {.remembered = model.config.ignored_keys});
    const Adapter bare(bare_definition(loaded.adapter), "merged", {written->config, written->sites},
                       loaded.adapter.task());
    const Tensor expected = answers(model, loaded.adapter, loaded.tensors, probes);
    const Tensor drift =
        (answers(*written, bare, head_tensors(loaded, bare), probes) - expected).abs();
    const bool has_logits = loaded.adapter.head() != nullptr || model.config.has_decoder();
    report = {has_logits ? "logit" : "hidden value", drift.max().item<double>(),
              drift.mean().item<double>(), expected.abs().max().item<double>(),
              static_cast<int64_t>(probes.size())};
    if (!(report.largest <= options.max_drift * std::max(1.0, report.largest_value))) {
      throw InputError("merging moves a " + report.what + " by " +
                       Node::number(report.largest).scalar + " (" +
                       Node::number(report.mean).scalar + " in the mean; the largest is " +
                       Node::number(report.largest_value).scalar + "), more than " +
                       option_name("max_drift") + " " + Node::number(options.max_drift).scalar +
                       " allows; keep the adapter beside its base, merge in fp32, compare on real "
                       "rows (" +
                       option_name("data") + "), or allow more");
    }
    write_file_atomically(unfinished / "merge.json",
                          to_json(report_node(report, options, loaded)) + "\n");
    std::error_code error;
    fs::rename(unfinished, folder, error);
    if (error)
      throw IoError("cannot rename '" + unfinished.string() + "' to '" + out.string() +
                    "': " + error.message());
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(unfinished, ignored);
    throw;
  }
  return report;
}

}  // namespace graft
