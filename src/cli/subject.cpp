#include "cli/subject.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "cli/common.h"
#include "cli/files.h"

namespace graft {

AskedSubject load_asked(const SubjectFlags& flags) {
  set_threads(flags.threads);
  const RouteOptions route = route_options(flags.route);
  const std::optional<Task> task = find_task(flags.task);
  OpenedModel opened =
      open_model(flags.model, flags.precision, ignored_keys(flags.ignored_keys, {flags.adapter}));
  Subject subject =
      load_subject(opened, {flags.adapter, task, flags.route.routing, flags.max_length});
  if (!subject.note.empty() && !flags.is_quiet)
    std::fprintf(stderr, "%s\n", message_text(subject.note).c_str());
  subject.task = with_format(std::move(subject.task), flags.data_format);
  return {std::move(opened), std::move(subject), route};
}

void check_records(const AskedSubject& asked, const SubjectFlags& flags, const std::string& path) {
  if (path.empty() || has_recorder(asked.subject.loaded.adapter)) return;
  throw InputError(
      "--records: " +
      (flags.adapter.empty() ? "the bare model" : "the adapter in '" + flags.adapter + "'") +
      " has neither a gate nor a router, so nothing to record; leave it out");
}

void add_subject(CLI::App& command, SubjectFlags& flags) {
  command.add_option("--model", flags.model, "the frozen model: a folder or a GGUF file")
      ->required();
  command.add_option("--adapter", flags.adapter,
                     "adapter folder (RUN/adapter); without it the head that the model's folder "
                     "brings, or with --task the bare "
                     "model");
  command.add_option(
      "--task", flags.task,
      "task name or file; default: what the adapter or the folder's own head was trained for");
  add_rows(command, flags.data, flags.data_format)->required();
  add_ignored_keys(command, flags.ignored_keys);
  add_max_length(command, flags.max_length);
  add_precision(command, flags.precision);
  add_threads(command, flags.threads);
  command
      .add_option_function<std::string>(
          "--routing",
          [&flags](const std::string& name) { flags.route.routing = value_of(kRoutings, name); },
          "experts of a stochastic mixture (default: merged)")
      ->check(CLI::IsMember(words_of(kRoutings)));
  command.add_option("--routes", flags.route.routes, "random routes of an ensemble (default 4)")
      ->check(CLI::Range(2, 1024));
  command
      .add_option("--route-seed", flags.route.seed,
                  "draws the routes of --routing random or of an ensemble")
      ->check(not_negative());
  command
      .add_option_function<std::string>(
          "--route-unit",
          [&flags](const std::string& name) { flags.route.unit = value_of(kRouteUnits, name); },
          "who draws an expert for itself: all rows together (default), each text, or each token "
          "(AdaMix's released inference levels 1 and 0)")
      ->check(CLI::IsMember(words_of(kRouteUnits)));
  command.add_flag("--quiet", flags.is_quiet, "no progress");
}

}  // namespace graft
