// Errors. Everything that can go wrong is one of three exceptions; main() turns each into its exit
// code.
//
// A message names the source (path:line:column, flag, tensor), what was expected, what was found
// and the way out.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace graft {

enum class ExitCode : int { kDone = 0, kInput = 2, kSystem = 3, kBug = 70 };

class Error : public std::runtime_error {
 public:
  Error(const std::string& message, ExitCode code) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// A file, flag or request is wrong; the user can mend it.
class InputError : public Error {
 public:
  explicit InputError(const std::string& message) : Error(message, ExitCode::kInput) {}
};

// The system refused: no such file, no space, no permission.
class IoError : public Error {
 public:
  explicit IoError(const std::string& message) : Error(message, ExitCode::kSystem) {}
};

// Our own bug.
class InternalError : public Error {
 public:
  explicit InternalError(const std::string& message) : Error(message, ExitCode::kBug) {}
};

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

// " (did you mean 'x'?)" for the nearest candidate by edit distance, or "" when none is near.
std::string did_you_mean(std::string_view wrong, const std::vector<std::string>& candidates);

// "a, b and c".
std::string joined(const std::vector<std::string>& words, std::string_view last = "and");

// The same for the first `most` words, followed by ", ..." where there are more.
std::string joined_first(const std::vector<std::string>& words, size_t most);

}  // namespace graft
