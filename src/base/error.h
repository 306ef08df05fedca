// Messages of errors: parts that many have, and the claims that hold unless we erred. The classes
// are in graft/errors.h.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "graft/errors.h"

namespace graft {

// Throws InternalError with `message` and the place of the call, "one adapter per lane
// (edit/lanes.cpp:169)", unless `claim` holds. Never used on input. (std::source_location is beyond
// the oldest compilers that build this.)
void ensure(bool claim, std::string_view message, const char* file = __builtin_FILE(),
            int line = __builtin_LINE());

// Runs `f`; an Error that escapes gets the line "while <doing>" added and keeps its class.
void with_context(std::string_view doing, const std::function<void()>& f);

// `text` in double quotes, control characters and invalid UTF-8 escaped, cut at 80 bytes: for
// showing foreign input in a message.
std::string quote(std::string_view text);

// " (did you mean 'x'?)" for the nearest candidate by edit distance, or "" when none is near. A
// number is meant by an equal one alone.
std::string did_you_mean(std::string_view wrong, const std::vector<std::string>& candidates);

// "a, b and c".
std::string joined(const std::vector<std::string>& words, std::string_view last = "and");

// The same for the first `most` words, followed by ", ..." where there are more.
std::string joined_first(const std::vector<std::string>& words, size_t most);

}  // namespace graft
