// What a foreign folder does not say, so that whoever imports it has to.
#pragma once

#include <string>

namespace graft {

// Empty, or false: not given.
struct ImportAnswers {
  std::string positions = {};   // pyreft: the tokens that are edited, "f3+l2"
  bool is_untied = false;       // pyreft: each side of the positions has a set of tensors
  std::string activation = {};  // pyreft: of the source
  std::string reft_kind = {};   // adapterhub: "noreft" or "direft"
};

}  // namespace graft
