// What a member came to as a document: how one process hands it to another.
#pragma once

#include "base/document.h"
#include "study/store.h"

namespace graft {

Node result_node(const MemberResult& result);

// Of what result_node made: the same result, bit for bit.
MemberResult parse_result(const Node& node);

}  // namespace graft
