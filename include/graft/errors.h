// Errors. Everything that can go wrong is one of three exceptions, and the functions of these
// headers throw no other. (What a program's own observer or on_text throws passes through them.)
// The command gives each an exit code of its own.
//
// A message names the source (path:line:column, option, tensor), what was expected, what was found
// and the way out. Exceptions are values: any thread may catch, copy and keep them.
#pragma once

#include <stdexcept>
#include <string>

namespace graft {

// kPartly: all is written, and members of a study failed.
enum class ExitCode : int { kDone = 0, kPartly = 1, kInput = 2, kSystem = 3, kBug = 70 };

class Error : public std::runtime_error {
 public:
  Error(const std::string& message, ExitCode code) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// A file, option or request is wrong, and the user can correct it.
class InputError : public Error {
 public:
  explicit InputError(const std::string& message) : Error(message, ExitCode::kInput) {}
};

// The system refused: no such file, no space, no permission, no memory.
class IoError : public Error {
 public:
  explicit IoError(const std::string& message) : Error(message, ExitCode::kSystem) {}
};

// A bug in Graft.
class InternalError : public Error {
 public:
  explicit InternalError(const std::string& message) : Error(message, ExitCode::kBug) {}
};

}  // namespace graft
