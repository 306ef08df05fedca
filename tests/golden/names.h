// The one place where Hugging Face's parameter names become an adapter's.
#pragma once

#include <string>

#include "base/document.h"

namespace graft::testing {

// "classifier.out_proj.weight" -> "out.weight", or "" when `name` is none of a classification
// head's.
std::string head_name(const std::string& name);

// The stored name of a trained tensor. `entry`: its entry under cases.CASE.trained of the manifest;
// `edit`: the kind of the adapter's only edit; `model_type`: "bert" or "roberta".
std::string stored_name(const std::string& name, const Node& entry, const std::string& edit,
                        const std::string& model_type);

}  // namespace graft::testing
