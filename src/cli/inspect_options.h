// graft inspect method and graft inspect settings: tables of options, as their declarations have
// them.
#pragma once

#include <string>

namespace graft {

// Both write to standard output and return the exit code.

// The options of a method, or of the "head"; of no name the list of methods. Throws InputError
// where no method has the name.
int inspect_method(const std::string& name, bool is_json);
int inspect_settings(bool is_json);

}  // namespace graft
