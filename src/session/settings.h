// Settings that are put over a definition and a run: "adapter.rank=4", "epochs=5".
#pragma once

#include <string>
#include <vector>

#include "base/document.h"
#include "edit/target.h"

namespace graft {

// Applies key=value settings of the adapter ("adapter.rank=4", or "rank=4" where only one edit has
// it; "head.pooler=trained") to `definition`, with every default of every edit filled in first;
// `source` then says so, for messages. Others go to `run` ("epochs=5", "data.rows=100"). Returns a
// note for each setting of the run beside which an edit has an option of that name. Throws
// InputError for a key that nobody has, or several edits.
std::vector<std::string> apply_settings(const std::vector<std::string>& settings,
                                        const EditTarget& target, std::string& source,
                                        Node& definition, Node& run);

// "adapter.rank" for "rank", an option of an edit; settings of the run are called as they are.
std::string full_setting_name(const std::string& key);

}  // namespace graft
