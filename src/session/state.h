// Internal to src/session.
//
// What stands behind Session and AdapterHandle.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "edit/bound_adapter.h"
#include "session/loading.h"
#include "session/share.h"

namespace graft {

struct SessionState {
  OpenedModel opened;
  Share share;
};

struct AdapterState {
  AdapterState(std::shared_ptr<const SessionState> owner, std::string folder,
               LoadedAdapter adapter);
  AdapterState(const AdapterState&) = delete;
  AdapterState& operator=(const AdapterState&) = delete;

  std::shared_ptr<const SessionState> session;
  std::string path;
  LoadedAdapter loaded;
  BoundAdapter bound;  // of `loaded`, its experts merged
  std::optional<Task> task = {};
  int64_t max_length = 0;
  std::string note = {};
};

}  // namespace graft
