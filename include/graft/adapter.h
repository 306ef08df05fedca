// An adapter that a session has loaded.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "graft/task.h"

namespace graft {

struct AdapterState;

// Made by Session::load and Session::bare. Cheap to copy, never changed: several threads may hold
// and use one. It keeps its model in memory.
class AdapterHandle {
 public:
  // The folder that it was loaded from; "" for the model alone.
  const std::string& path() const;
  // What it answers. Nothing if it was trained for no task.
  std::optional<TaskInfo> task() const;
  // Texts are cut to this many tokens, as they were in training.
  int64_t max_length() const;
  // A line for the user that says what the model's own head answers. Usually empty.
  const std::string& note() const;

 private:
  friend class Session;
  explicit AdapterHandle(std::shared_ptr<const AdapterState> state) : state_(std::move(state)) {}

  std::shared_ptr<const AdapterState> state_;
};

}  // namespace graft
