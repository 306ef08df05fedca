// graft: the command. Parses the command line, runs one command, turns an error into a message and an exit code.
#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/version.h"
#include "cli/commands.h"

namespace {

using graft::ExitCode;

int report(const std::string& message, ExitCode code) {
  std::fprintf(stderr, "graft: %s\n", message.c_str());
  return static_cast<int>(code);
}

// "--lern" -> " (did you mean '--learn'?)", over the options of the command that was chosen.
std::string suggestion(const CLI::App& app) {
  std::string out;
  for (const std::string& extra : app.remaining(true)) {
    std::vector<std::string> known;
    for (const CLI::App* command : app.get_subcommands({})) known.push_back(command->get_name());
    for (const CLI::App* command : app.get_subcommands()) {
      for (const CLI::Option* option : command->get_options()) known.push_back(option->get_name());
    }
    out += graft::did_you_mean(extra, known);
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);   // a file-size limit becomes a failing write with a message, like a full disk
  CLI::App app("Graft trains, evaluates and ships small learned changes to frozen language models.", "graft");
  app.set_version_flag("--version", std::string("graft ") + graft::kVersionText);
  app.require_subcommand(1);
  app.footer("Each command explains itself: graft train --help");
  graft::Action action;
  graft::add_train(app, action);
  graft::add_eval(app, action);
  graft::add_predict(app, action);
  graft::add_trace(app, action);
  graft::add_plan(app, action);
  graft::add_inspect(app, action);
  try {
    app.parse(argc, argv);
    const int code = action();
    if (std::fflush(stdout) != 0) throw graft::IoError(std::string("cannot write to the standard output: ") + std::strerror(errno));
    return code;
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForAllHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return report(std::string(e.what()) + suggestion(app) + "; see graft --help", ExitCode::kInput);
  } catch (const graft::Error& e) {
    return report(e.what(), e.code());
  } catch (const std::filesystem::filesystem_error& e) {
    return report("cannot look at '" + e.path1().string() + "': " + e.code().message(), ExitCode::kSystem);
  } catch (const std::bad_alloc&) {
    return report("out of memory: lower batch_size, token_budget or max_length", ExitCode::kSystem);
  } catch (const c10::Error& e) {
    return report(std::string("internal error: ") + e.what_without_backtrace(), ExitCode::kBug);
  } catch (const std::exception& e) {
    return report(std::string("internal error: ") + e.what(), ExitCode::kBug);
  }
}
