// Files that a flag names: "-" for the standard input or output, a format for rows that no name
// tells.
#pragma once

#include <cstdio>
#include <initializer_list>
#include <string>
#include <utility>

#include "data/task.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace graft {

// Reads "-" as the standard input, or output. For options that name one file.
void accept_standard_input(CLI::Option& option);
void accept_standard_output(CLI::Option& option);

// --data, which `about` describes, and --data-format of a command that reads a task's rows.
// `names`: "data,--data" where the file may also stand alone.
CLI::Option* add_rows(CLI::App& command, std::string& data, std::string& format,
                      const std::string& about = "rows", const std::string& names = "--data");
// --out, which `about` describes, and --format of a command that writes rows.
CLI::Option* add_written_rows(
    CLI::App& command, std::string& out, std::string& format,
    const std::string& about =
        "file to write: .jsonl, .json, .csv or .tsv; -: the standard output");
// That of --format, else by the name of --out. Throws InputError where neither tells.
TableFormat written_format(const std::string& out, const std::string& format);
// The task with --data-format in the place of its own format, where given.
Task with_format(Task task, const std::string& format);

// Where messages go: the standard output, or the standard error while one of `outputs` is the
// standard output.
std::FILE* messages_beside(std::initializer_list<std::string> outputs);

// Throws InputError where `out`, the value of `flag`, is the file of rows that is read: writing
// would replace it.
void check_not_rows(const char* flag, const std::string& out, const std::string& data);
// Throws IoError where no file could be made at `out`, before anything is computed that is to stand
// there. Does nothing without one, and for what takes bytes as they come.
void check_writable(const std::string& out);
// Throws InputError where two flags name one file to write.
void check_apart(const std::pair<const char*, std::string>& one,
                 const std::pair<const char*, std::string>& other);

}  // namespace graft
