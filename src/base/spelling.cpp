#include "base/spelling.h"

#include <algorithm>

namespace graft {

namespace {

Spelling& spelling() {
  static Spelling of_program;
  return of_program;
}

}  // namespace

void set_spelling(Spelling given) { spelling() = std::move(given); }

std::string option_name(std::string_view name) {
  std::string out(name);
  if (spelling().option_prefix.empty()) return out;
  std::replace(out.begin(), out.end(), '_', '-');
  return spelling().option_prefix + out;
}

std::string setting_text(std::string_view setting) {
  const std::string& flag = spelling().settings_flag;
  return flag.empty() ? std::string(setting) : flag + " " + std::string(setting);
}

std::string settings_name() {
  const std::string& flag = spelling().settings_flag;
  return flag.empty() ? "settings" : flag;
}

}  // namespace graft
