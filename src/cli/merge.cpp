// graft merge: an adapter folded into its base, as a model folder for other programs. Graft reads
// its trunk.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/word_option.h"
#include "feed/dataset.h"
#include "interop/merge.h"
#include "interop/probes.h"
#include "session/loading.h"

namespace graft {

namespace {

// What storing weights in bf16 (8 bits of mantissa) does to logits of a few units; in fp32 the same
// sums in another order.
constexpr double kDriftFloat32 = 1e-3, kDriftBFloat16 = 0.1;

struct MergeFlags {
  std::string model, adapter, out, data;
  std::vector<std::string> ignored_keys;
  Precision precision = Precision::kFloat32;
  double max_drift = 0;
  int64_t probes = 64;
};

// A cloze chooses at a mask: here in the middle of each.
std::vector<Sequence> made_up_rows(const MergeFlags& flags, const LoadedAdapter& loaded,
                                   const ModelConfig& config) {
  std::vector<Sequence> probes = made_up_probes(config, flags.probes);
  const std::optional<Task>& task = loaded.adapter.task();
  if (!task || task->cloze() == nullptr) return probes;
  const auto words = mask_words(*task, load_model_text(flags.model), config);
  for (Sequence& probe : probes) probe.asked = Mask{std::ssize(probe.ids) / 2, words};
  return probes;
}

std::vector<Sequence> read_probes(const MergeFlags& flags, const LoadedAdapter& loaded,
                                  const ModelConfig& config) {
  if (flags.data.empty()) return made_up_rows(flags, loaded, config);
  if (!loaded.adapter.task())
    throw InputError(
        "--data: the adapter has no task that would say which columns to read; leave --data out");
  const ModelText text = load_model_text(flags.model);
  std::vector<Example> examples =
      read_examples(flags.data, *loaded.adapter.task(), LabelUse::kOptional);
  examples.resize(std::min(examples.size(), static_cast<size_t>(flags.probes)));
  return encode_examples(
             std::move(examples), *loaded.adapter.task(), text, config,
             resolve_max_length(loaded.provenance.max_length, config, loaded.adapter.layout()))
      .sequences;
}

int merge(const MergeFlags& flags) {
  const auto model = load_model(flags.model, Precision::kFloat32,
                                ignored_keys(flags.ignored_keys, {flags.adapter}));
  const LoadedAdapter loaded = load_adapter(flags.adapter, *model);
  MergeOptions options{flags.precision, flags.max_drift};
  if (options.max_drift == 0)
    options.max_drift = flags.precision == Precision::kBFloat16 ? kDriftBFloat16 : kDriftFloat32;
  const MergeReport report = merge_adapter(
      loaded, *model, flags.model, read_probes(flags, loaded, model->config), flags.out, options);
  std::printf("merged into %s (%s)\n", bare_name(flags.out).c_str(),
              word_of(kPrecisions, flags.precision));
  std::printf("drift over %lld rows: at most %.3g, %.3g in the mean; the largest %s is %.3g\n",
              static_cast<long long>(report.probes), report.largest, report.mean,
              report.what.c_str(), report.largest_value);
  return 0;
}

}  // namespace

void add_merge(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "merge", "Fold an adapter into its base: a model folder for transformers and other programs");
  auto flags = std::make_shared<MergeFlags>();
  command
      ->add_option("--model", flags->model,
                   "folder or GGUF file of the frozen model the adapter was trained on")
      ->required();
  add_ignored_keys(*command, flags->ignored_keys);
  command->add_option("--adapter", flags->adapter, "adapter folder (RUN/adapter)")->required();
  command->add_option("--out", flags->out, "new folder for the merged model")->required();
  add_word_option(*command, "--dtype", kPrecisions, flags->precision,
                  "of the weights written: fp32 (default) or bf16");
  command
      ->add_option("--max-drift", flags->max_drift,
                   "largest difference of a logit let through, as a part of the largest logit "
                   "where that is above 1 (default: "
                   "0.001 in fp32, 0.1 in bf16)")
      ->check(above_zero());
  command->add_option("--data", flags->data, "rows to compare on (default: made-up ones)");
  command->add_option("--probes", flags->probes, "how many (default 64)")
      ->check(CLI::Range(1, 1 << 20));
  command->footer(
      "Example:\n  graft merge --model models/minilm --adapter runs/sst2/adapter --out merged\n"
      "A classifier's head is in the folder, too, with its labels: graft eval and predict answer "
      "by it without an adapter.\n"
      "What cannot be folded (gates, routers, bottlenecks, prefixes, ReFT) is refused with the "
      "reason.");
  command->callback([flags, &action] { action = [flags] { return merge(*flags); }; });
}

}  // namespace graft
