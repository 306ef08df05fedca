#include "cli/common.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "base/printable.h"
#include "cli/word_option.h"
#include "train/config.h"

namespace graft {

namespace fs = std::filesystem;

Share share() {
  if (const char* own = std::getenv("GRAFT_SHARE"); own != nullptr && *own != '\0') {
    if (std::error_code error; !fs::is_directory(own, error))
      throw InputError("GRAFT_SHARE: expected the folder with presets/ and tasks/, found " +
                       named(own) + ", which is none; set it to that folder, or unset it");
    return {own};
  }
  char buffer[4096];
  const ssize_t length = ::readlink("/proc/self/exe", buffer, sizeof buffer);
  if (length <= 0) throw IoError("cannot find the program's own path");
  const Path bin = Path(std::string(buffer, static_cast<size_t>(length))).parent_path();
  for (const Path& candidate : {bin / "../share/graft", bin / "../.."}) {
    if (fs::is_directory(candidate / "presets")) return {candidate.lexically_normal()};
  }
  throw InputError("the folder with presets/ and tasks/ was not found beside " + bin.string() +
                   ": set GRAFT_SHARE to it");
}

std::optional<Task> find_task(const std::string& name) {
  if (name.empty()) return std::nullopt;
  return load_task(name, share().tasks());
}

std::string setting_help(const std::string& key) {
  static const std::vector<OptionRow> rows = option_rows(RunConfig{});
  for (const OptionRow& row : rows) {
    if (row.name == key) return row.meaning;
  }
  throw InternalError("no setting is called " + quote(key));
}

void add_precision(CLI::App& command, Precision& value) {
  add_word_option(command, "--precision", kPrecisions, value, "of the trunk: fp32 or bf16");
}

void add_ignored_keys(CLI::App& command, std::vector<std::string>& keys) {
  command
      .add_option("--ignore-config-key", keys,
                  "a key of the model's config.json that graft does not know and is to pass over; "
                  "may be given again")
      ->type_name("NAME")
      ->allow_extra_args(false);
}

CLI::Validator above_zero() {
  return CLI::Validator(
      [](std::string& text) {
        double number = 0;
        return CLI::detail::lexical_cast(text, number) && number > 0
                   ? std::string()
                   : "expected a number above 0, found " + text;
      },
      "above 0");
}

CLI::Validator not_negative() {
  return CLI::Validator(
      [](std::string& text) {
        return text.starts_with("-") ? "expected 0 or more, found " + text : std::string();
      },
      "0 or more");
}

void add_max_length(CLI::App& command, int64_t& value, const std::string& otherwise) {
  command
      .add_option("--max-length", value,
                  "tokens of a row; longer ones are cut as the task says, and named (default: as "
                  "in training, else " +
                      otherwise + ")")
      ->check(above_zero());
}

void add_threads(CLI::App& command, int64_t& value) {
  command.add_option("--threads", value, "threads for matrix products (default: all cores)")
      ->check(CLI::Range(0, 1024));
}

void tell_cut(const Dataset& data, const std::string& what) {
  if (data.num_cut() > 0)
    std::fprintf(stderr, "graft: %s: %s\n", bare_name(what).c_str(),
                 message_text(cut_message(data)).c_str());
}

void set_threads(int64_t threads) {
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
}

}  // namespace graft
