// Digests of what a run reads: a resume must find the same again.
#pragma once

#include <map>
#include <string>

#include "train/inputs.h"

namespace graft {

// Of the settings. Where the run lies does not count: its folder may be moved, or named in another
// way.
std::string digest_of(RunConfig config);

// Of data, tokenizer and base model, by what a message calls them ("the training data"). Each data
// set has two: of its tokens and labels, and of what stands beside them (embeddings, subspaces,
// prompts, references), which checkpoints of earlier versions lack. Reads all of the model's files.
std::map<std::string, std::string> digests_of(const RunInputs& inputs);

}  // namespace graft
