// The settings by which texts are written, as documents hold them (`generation` in run.yaml, flags,
// a model's own files), and which of them count.
#pragma once

#include <string>

#include "base/document.h"
#include "base/option_visitor.h"
#include "infer/texts.h"

namespace graft {

inline constexpr Name<EarlyStopping> kEarlyStoppings[] = {
    {EarlyStopping::kNo, "no"}, {EarlyStopping::kYes, "yes"}, {EarlyStopping::kNever, "never"}};
inline constexpr Name<NgramsOf> kNgramsOf[] = {{NgramsOf::kText, "text"}, {NgramsOf::kNew, "new"}};

// Every setting. The model's own end tokens and the seed are not among them.
void visit_generation(OptionVisitor& v, GenerateOptions& options);

// Of a map of settings, by the names of doc/run_folder.md; what is missing has its usual value.
// Faults go to `options`.
GenerateOptions read_generation(Options& options);

// Every setting; read_generation gives equal options.
Node generation_node(GenerateOptions options);

// Those of generation_node that have other than their usual values.
Node unusual_generation(const GenerateOptions& options);

struct JoinedGeneration {
  GenerateOptions options;
  Node from_model;  // what the model's settings contribute
};

// The user's settings over the model's. As in transformers' generate(): a length in new tokens
// counts instead of one in all tokens, what is of random choices counts only where a token is
// drawn, what is of beam search only where there are beams. `source` opens messages about `own`,
// with `model_source` before it where both are read together.
JoinedGeneration join_generation(const Node& own, const Node& model, const std::string& source,
                                 const std::string& model_source);

}  // namespace graft
