#include "cli/subject.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/error.h"
#include "cli/common.h"

namespace graft {

namespace {

const std::map<std::string, Routing> kRoutings = {{"merged", Routing::kMerged},
                                                  {"random", Routing::kRandom},
                                                  {"fixed", Routing::kFixed},
                                                  {"ensemble-logits", Routing::kEnsembleLogits},
                                                  {"ensemble-probabilities", Routing::kEnsembleProbabilities}};

void check_routing(const Subject& subject, const SubjectFlags& flags) {
  if (flags.route.routing == Routing::kMerged) return;
  const auto& parts = subject.loaded.adapter.parts();
  const bool is_stochastic = std::any_of(parts.begin(), parts.end(), [](const Adapter::Part& part) { return part.spec.traits.is_stochastic; });
  if (!is_stochastic) throw InputError("--routing: the adapter in '" + flags.adapter + "' has no stochastic mixture to route through; leave the flag out");
  if (subject.loaded.adapter.head() == nullptr) throw InputError("--routing: routes other than merged are for tasks with a head; task " + quote(subject.task.name) + " is answered in words");
}

LoadedAdapter no_adapter(const Model& model, const Task& task) {
  Adapter bare(Node::map(), "no adapter", {model.config, model.sites}, task);
  if (!bare.params().empty()) {
    throw InputError("--adapter: missing; task " + quote(task.name) + " is answered by a trained head. Without an adapter: tasks of kind generation or choice, and cloze tasks");
  }
  return {std::move(bare), {}, {}};
}

}  // namespace

Subject load_subject(const SubjectFlags& flags, LabelUse use) {
  set_threads(flags.threads);
  const auto model = load_model(flags.model, flags.precision);
  if (flags.adapter.empty() && flags.task.empty()) throw InputError("give --adapter, or --task for the bare model");
  std::optional<Task> task;
  if (!flags.task.empty()) task = load_task(flags.task, share_dir() / "tasks");
  LoadedAdapter loaded = flags.adapter.empty() ? no_adapter(*model, *task) : load_adapter(flags.adapter, *model);
  if (!task) task = loaded.adapter.task();
  if (!task) throw InputError("'" + flags.adapter + "': the adapter has no task, so nothing to predict; give --task");
  const bool has_own_head = loaded.adapter.head() != nullptr && loaded.adapter.task() != task;
  if (has_own_head) throw InputError("--task: the adapter in '" + flags.adapter + "' has a head for its own task; leave the flag out");
  ModelText text = load_model_text(flags.model);
  check_tokenizer(loaded.provenance, text, flags.adapter, flags.model);
  const int64_t max_length = resolve_max_length(loaded.provenance.max_length, model->config, loaded.adapter.layout());
  Subject subject{model, std::move(loaded), *task, std::move(text), read_examples(flags.data, *task, use), max_length};
  check_routing(subject, flags);
  return subject;
}

void add_subject(CLI::App& command, SubjectFlags& flags) {
  command.add_option("--model", flags.model, "the frozen model: a folder or a GGUF file")->required();
  command.add_option("--adapter", flags.adapter, "adapter folder (RUN/adapter); without it the bare model, which then needs --task");
  command.add_option("--task", flags.task, "task name or file; default: what the adapter was trained for");
  command.add_option("--data", flags.data, "rows: TSV, CSV, JSONL or JSON")->required();
  add_precision(command, flags.precision);
  add_threads(command, flags.threads);
  command.add_option("--routing", flags.route.routing, "experts of a stochastic mixture: merged (default), random, fixed, ensemble-logits, ensemble-probabilities")
      ->transform(CLI::CheckedTransformer(kRoutings));
  command.add_option("--routes", flags.route.routes, "random routes of an ensemble (default 4)")->check(CLI::Range(2, 1024));
  command.add_option("--route-seed", flags.route.seed, "draws the routes")->check(CLI::NonNegativeNumber);
  add_generation(command, flags.generate);
  command.add_flag("--quiet", flags.is_quiet, "no progress");
}

}  // namespace graft
