#include "cli/word_option.h"

#include <CLI/CLI.hpp>

namespace graft {

CLI::Option* add_word_option(CLI::App& command, const std::string& flag,
                             const std::vector<std::string>& words,
                             const std::function<void(const std::string&)>& read,
                             const std::string& help) {
  return command.add_option_function<std::string>(flag, read, help)->check(CLI::IsMember(words));
}

}  // namespace graft
