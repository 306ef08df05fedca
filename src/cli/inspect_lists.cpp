#include "cli/inspect_lists.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/common.h"
#include "data/task.h"
#include "session/presets.h"

namespace graft {

namespace {

void print_list(const std::vector<std::string>& names,
                const std::function<std::string(const std::string& name)>& about) {
  size_t width = 0;
  for (const std::string& name : names) width = std::max(width, name.size());
  for (const std::string& name : names)
    std::printf("%-*s  %s\n", static_cast<int>(width), name.c_str(), about(name).c_str());
}

}  // namespace

int inspect_presets() {
  const Share ready = share();
  print_list(preset_names(ready),
             [&](const std::string& name) { return load_preset(name, ready).about; });
  return static_cast<int>(ExitCode::kDone);
}

int inspect_tasks() {
  const Path folder = share().tasks();
  print_list(task_names(folder), [&](const std::string& name) { return task_about(name, folder); });
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace graft
