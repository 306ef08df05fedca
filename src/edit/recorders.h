// What an adapter has to note of rows and steps, where somebody asks for records.
#pragma once

#include <string_view>

#include "edit/adapter.h"

namespace graft {

// Whether an edit of this kind is in a definition of edits, alone or around others.
bool holds_kind(const Node& edits, std::string_view kind);
bool has_kind(const Adapter& adapter, std::string_view kind);

// Of rows: a gate, a router or a collect is among its edits, each alone or around others.
bool has_recorder(const Adapter& adapter);

// Of rows: an edit changes what leaves a site, so that its change has a size. A prefix stands
// beside the rows, and full fine-tuning and the like change weights.
bool changes_sites(const Adapter& adapter);

// Of steps: a stochastic mixture draws its experts.
bool draws_experts(const Adapter& adapter);

}  // namespace graft
