#include "cli/files.h"

#include <unistd.h>
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/output_file.h"
#include "data/row_writer.h"

namespace graft {

namespace fs = std::filesystem;

namespace {

void accept(CLI::Option& option, const char* standard) {
  option.transform([standard](const std::string& value) {
    return value == "-" ? std::string(standard) : value;
  });
}

// However they are spelled, and whether the file is there or not. Where bytes go out at once, two
// names of one place, such as a terminal, replace nothing.
bool name_one_file(const std::string& one, const std::string& other) {
  if (one == other) return true;
  if (takes_bytes_at_once(one) || takes_bytes_at_once(other)) return false;
  std::error_code error;
  const fs::path first = fs::weakly_canonical(fs::absolute(one, error), error),
                 second = fs::weakly_canonical(fs::absolute(other, error), error);
  return !error && first == second;
}

}  // namespace

void accept_standard_input(CLI::Option& option) { accept(option, "/dev/stdin"); }

void accept_standard_output(CLI::Option& option) { accept(option, "/dev/stdout"); }

CLI::Option* add_rows(CLI::App& command, std::string& data, std::string& format,
                      const std::string& about, const std::string& names) {
  CLI::Option* option = command.add_option(
      names, data, about + ": TSV, CSV, JSONL or JSON, also packed by gzip; -: the standard input");
  accept_standard_input(*option);
  command
      .add_option("--data-format", format,
                  "of --data where its name does not tell: jsonl (that of the standard input), "
                  "json, csv or tsv")
      ->check(CLI::IsMember(row_format_names()));
  return option;
}

CLI::Option* add_written_rows(CLI::App& command, std::string& out, std::string& format,
                              const std::string& about) {
  CLI::Option* option = command.add_option("--out", out, about);
  accept_standard_output(*option);
  command
      .add_option("--format", format,
                  "of --out where its name does not tell: jsonl (that of the standard output), "
                  "json, csv or tsv")
      ->check(CLI::IsMember(row_format_names()));
  return option;
}

TableFormat written_format(const std::string& out, const std::string& format) {
  return format.empty() ? row_format_of(out, "--out") : row_format(format);
}

Task with_format(Task task, const std::string& format) {
  if (!format.empty()) task.format = row_format(format);
  return task;
}

std::FILE* messages_beside(std::initializer_list<std::string> outputs) {
  for (const std::string& output : outputs) {
    if (!output.empty() && named_descriptor(output) == STDOUT_FILENO) return stderr;
  }
  return stdout;
}

void check_not_rows(const char* flag, const std::string& out, const std::string& data) {
  std::error_code error;
  if (!out.empty() && !named_descriptor(out) && fs::equivalent(out, data, error))
    throw InputError(std::string(flag) + ": '" + out +
                     "' is the file of --data, which it would replace; choose another");
}

void check_writable(const std::string& out) {
  if (!out.empty() && !takes_bytes_at_once(out)) OutputFile(out).discard();
}

void check_apart(const std::pair<const char*, std::string>& one,
                 const std::pair<const char*, std::string>& other) {
  if (one.second.empty() || other.second.empty() || !name_one_file(one.second, other.second))
    return;
  const std::string both = one.second == other.second
                               ? "both name '" + one.second + "'"
                               : "name one file, '" + one.second + "' and '" + other.second + "'";
  throw InputError(std::string(one.first) + " and " + other.first + " " + both +
                   "; choose another for one of them");
}

}  // namespace graft
