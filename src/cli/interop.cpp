// graft import and graft export: adapters of other software, in and out.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "interop/interop.h"
#include "session/loading.h"

namespace graft {

namespace {

struct InteropFlags {
  std::string format, model, adapter, out, task;
  std::vector<std::string> ignored_keys;
  ImportAnswers answers;
};

int import_folder(const InteropFlags& flags) {
  check_free_for_adapter(flags.out);
  std::error_code error;
  if (!std::filesystem::exists(flags.adapter, error) && !error)
    throw InputError("'" + flags.adapter + "': no such folder");
  const std::optional<Task> task = find_task(flags.task);
  const auto model =
      load_model(flags.model, Precision::kFloat32, IgnoredKeys{.named = flags.ignored_keys});
  const LoadedAdapter loaded =
      import_adapter(flags.format, flags.adapter, *model, task, flags.answers);
  save_adapter(flags.out, loaded.adapter, loaded.tensors, *model, loaded.provenance);
  std::printf("%s: %zu %s, %zu tensors, %s; in %s\n",
              printable(loaded.provenance.origin, 1000).c_str(), loaded.adapter.parts().size(),
              plural(static_cast<int64_t>(loaded.adapter.parts().size()), "edit").c_str(),
              loaded.tensors.size(), loaded.adapter.head() != nullptr ? "a head" : "no head",
              bare_name(flags.out).c_str());
  if (!task && loaded.adapter.task() && has_numbered_labels(*loaded.adapter.task()))
    std::printf(
        "note: the folder does not name the head's outputs; they are called %s (--task "
        "text:NAME,NAME names them)\n",
        listed_names(loaded.adapter.task()->labels()).c_str());
  return 0;
}

int export_folder(const InteropFlags& flags) {
  const auto model = load_model(flags.model, Precision::kFloat32,
                                ignored_keys(flags.ignored_keys, {flags.adapter}));
  const LoadedAdapter loaded = load_adapter(flags.adapter, *model);
  const ExportReport report = export_adapter(flags.format, flags.out, loaded, *model);
  std::printf(
      "%s in %s; read back, it computes the same (largest relative difference on a probe %.1e)\n",
      flags.format.c_str(), bare_name(flags.out).c_str(), report.largest_difference);
  const bool names_labels = flags.format == "adapterhub";  // in head_config.json
  if (!names_labels && loaded.adapter.task() && loaded.adapter.task()->num_labels() > 0) {
    std::printf("the folder holds no label names; they are, in the order of the outputs: %s\n",
                printable(joined(loaded.adapter.task()->labels()), 2000).c_str());
  }
  return 0;
}

std::string formats_text() { return joined(foreign_formats(), "or"); }

}  // namespace

void add_import(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("import", "Make an adapter of one that other software trained");
  auto flags = std::make_shared<InteropFlags>();
  command->add_option("--from", flags->format, "whose: " + formats_text())
      ->required()
      ->check(CLI::IsMember(foreign_formats()));
  command->add_option("source", flags->adapter, "its adapter folder")->required();
  command->add_option("--model", flags->model, "folder of the frozen model that it was trained on")
      ->required();
  add_ignored_keys(*command, flags->ignored_keys);
  command->add_option("--out", flags->out, "folder for the new adapter")->required();
  command->add_option("--task", flags->task,
                      "what the head's outputs mean, or what a model without one writes: ready "
                      "task, YAML file, or text:LABEL,LABEL");
  command->add_option("--positions", flags->answers.positions,
                      "pyreft: the tokens that are edited, for instance f3 or f7+l7");
  command->add_flag("--untied", flags->answers.is_untied,
                    "pyreft: the first and the last tokens have tensors of their own");
  command->add_option("--activation", flags->answers.activation,
                      "pyreft: act_fn of the source, where it had one");
  command->add_option("--reft-kind", flags->answers.reft_kind,
                      "adapterhub: noreft or direft, which it writes alike");
  command->footer(
      "Example:\n  graft import --from peft --model models/minilm peft-folder --task text:no,yes "
      "--out imported\n"
      "Nothing in the folder is run, and nothing is left out silently: see doc/interop.md.");
  command->callback([flags, &action] { action = [flags] { return import_folder(*flags); }; });
}

void add_export(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("export", "Write an adapter as other software reads it");
  auto flags = std::make_shared<InteropFlags>();
  command->add_option("--to", flags->format, "for whom: " + formats_text())
      ->required()
      ->check(CLI::IsMember(foreign_formats()));
  command->add_option("--model", flags->model, "folder of the frozen model that it was trained on")
      ->required();
  add_ignored_keys(*command, flags->ignored_keys);
  command->add_option("--adapter", flags->adapter, "adapter folder")->required();
  command->add_option("--out", flags->out, "folder to write")->required();
  command->footer(
      "Example:\n  graft export --to peft --model models/minilm --adapter runs/sst2/adapter --out "
      "peft-folder");
  command->callback([flags, &action] { action = [flags] { return export_folder(*flags); }; });
}

}  // namespace graft
