// How the user of this program gives what a message asks for. Libraries call an option by its name
// ("route_seed") and a setting by its text ("epochs=5"); a program whose user gives flags says once
// how they are spelled, and messages follow.
#pragma once

#include <string>
#include <string_view>

namespace graft {

struct Spelling {
  std::string option_prefix;  // "--": option_name("route_seed") is "--route-seed"; "": the name
  std::string settings_flag;  // "--set": setting_text("epochs=5") is "--set epochs=5"; "": the text
};

// Of the whole program: to be called before any other thread runs.
void set_spelling(Spelling spelling);

std::string option_name(std::string_view name);
std::string setting_text(std::string_view setting);
// Where settings come from: "--set", or "settings".
std::string settings_name();

}  // namespace graft
