// Adapters of other software: one door for every format.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "interop/answers.h"
#include "interop/foreign.h"

namespace graft {

std::vector<std::string> foreign_formats();  // "peft", "adapterhub", "pyreft"

// The adapter in folder `dir`, ready for save_adapter. `task`: what its head answers, where the
// folder does not say. `answers`: what else it does not say. Throws InputError listing all that is
// wrong, and for an answer that the format has no question for.
LoadedAdapter import_adapter(const std::string& format, const Path& dir, const Model& model,
                             const std::optional<Task>& task, const ImportAnswers& answers = {});

struct ExportReport {
  double largest_difference = 0;  // of the last hidden states and logits of a probe, between the
                                  // adapter and the folder read back
};

// Writes the adapter into folder `dir`, which must be new or empty, then reads it back and compares
// what both compute on a probe. Throws InputError where the format has no form for the adapter or
// the folder holds something, IoError, and InternalError where the two differ; then nothing is left
// in the folder.
ExportReport export_adapter(const std::string& format, const Path& dir, const LoadedAdapter& loaded,
                            const Model& model);

}  // namespace graft
