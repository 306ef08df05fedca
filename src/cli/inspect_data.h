// graft inspect data: rows of a task as the model sees them, with what the loss counts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace graft {

struct InspectDataFlags {
  // Without model and task: a task for the data is proposed.
  std::string model, task, data, data_format;
  std::vector<std::string> ignored_keys;
  int64_t rows = 3, max_length = 0;
  bool is_json = false;
};

// Writes to standard output. Without a task: one for the file as YAML, or as JSON the same without
// its comments (data/propose.h). As JSON: one line a row, with id, ids, tokens, is_target; beside
// an encoder also target_ids and target_tokens; of a choice options (ids of each) and label; no
// counts. Else, for people, the rows and counts over the whole file; tokens that the loss counts
// are green on a terminal, and in [...] where there is no colour. Returns the exit code.
int inspect_data(const InspectDataFlags& flags);

}  // namespace graft
