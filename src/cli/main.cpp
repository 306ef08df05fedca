// graft: the command. Parses the command line, runs one command, turns an error into a message and
// an exit code.
#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/document.h"
#include "base/error.h"
#include "base/files.h"
#include "base/printable.h"
#include "base/spelling.h"
#include "base/version.h"
#include "cli/commands.h"
#include "cli/foreign_options.h"
#include "train/out_of_memory.h"

namespace {

using graft::ExitCode;

int report(const std::string& message, ExitCode code) {
  const std::string bug = code == ExitCode::kBug ? "internal error: " : "";
  std::fprintf(stderr, "graft: %s\n", graft::message_text(bug + message).c_str());
  return static_cast<int>(code);
}

// What is wrong with a command line: the first word that nobody knows, with a near miss; else what
// CLI11 says.
std::string usage_message(const CLI::App& app, const std::vector<std::string>& words,
                          const CLI::ParseError& error) {
  const CLI::App* command = &app;  // the innermost one that was chosen
  std::string path;                // " inspect data"
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    path += " " + command->get_name();
  }
  const std::string help = "; see graft" + path + " --help";
  const std::string where = path.empty() ? "" : path.substr(1) + ": ";
  std::vector<std::string> commands;
  for (const CLI::App* each : command->get_subcommands({})) {
    if (!each->get_group().empty()) commands.push_back(each->get_name());  // the others are hidden
  }
  const std::vector<std::string> extras = app.remaining(true);
  // A command may take a file where its own commands stand: the word there may be one of those.
  for (const CLI::Option* each : command->get_options()) {
    if (extras.empty() || !each->get_positional() || each->count() == 0) continue;
    const std::string near = graft::did_you_mean(each->results().front(), commands);
    if (!near.empty())
      return where + "unknown command " + graft::named(each->results().front()) + near + help;
  }
  for (const std::string& extra : extras) {
    if (extra.starts_with("-"))
      return where + "unknown option " + graft::named(extra) +
             graft::did_you_mean_option(extra, words, *command) + help;
    if (graft::key_and_value(extra) && command->get_option_no_throw(graft::settings_name()))
      return where + "unknown word " + graft::named(extra) + " (did you mean '" +
             graft::setting_text(extra) + "'?)" + help;
    if (!commands.empty())
      return where + "unknown command " + graft::named(extra) +
             graft::did_you_mean(extra, commands) + help;
  }
  const bool lacks_something = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  if (!commands.empty() && command->get_subcommands().empty() && lacks_something)
    return where + "expected a command: " + graft::joined(commands, "or") + help;
  return where + error.what() + help;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(
      SIGXFSZ,
      SIG_IGN);  // a file-size limit becomes a failing write with a message, like a full disk
  CLI::App app("Graft trains, evaluates and ships small learned changes to frozen language models.",
               "graft");
  app.set_version_flag("--version", std::string("graft ") + graft::kVersionText);
  app.require_subcommand(1);
  app.footer("Each command explains itself: graft train --help");
  graft::set_spelling({.option_prefix = "--", .settings_flag = "--set"});
  graft::Action action;
  graft::add_train(app, action);
  graft::add_eval(app, action);
  graft::add_predict(app, action);
  graft::add_generate(app, action);
  graft::add_sweep(app, action);
  graft::add_report(app, action);
  graft::add_collect(app, action);
  graft::add_steer(app, action);
  graft::add_trace(app, action);
  graft::add_plan(app, action);
  graft::add_average(app, action);
  graft::add_merge(app, action);
  graft::add_import(app, action);
  graft::add_export(app, action);
  graft::add_inspect(app, action);
  try {
    app.parse(argc, argv);
    const int code = graft::with_memory_need({}, action);
    if (std::fflush(stdout) != 0)
      throw graft::IoError(std::string("cannot write to the standard output: ") +
                           std::strerror(errno));
    return code;
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForAllHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return report(usage_message(app, {argv + 1, argv + argc}, e), ExitCode::kInput);
  } catch (const graft::Error& e) {
    return report(e.what(), e.code());
  } catch (const std::filesystem::filesystem_error& e) {
    return report(graft::refusal_text(e), ExitCode::kSystem);
  } catch (const c10::Error& e) {
    return report(e.what_without_backtrace(), ExitCode::kBug);
  } catch (const std::exception& e) {
    return report(e.what(), ExitCode::kBug);
  }
}
