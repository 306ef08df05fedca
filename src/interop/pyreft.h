// Folders of pyreft 0.1 (on pyvene): interventions on the residual stream at chosen tokens, with a
// classifier beside them.
//
// doc/interop.md lists what becomes of every field.
#pragma once

#include "interop/answers.h"
#include "interop/foreign.h"

namespace graft {

// Reads config.json with one file an intervention, and pytorch_model.bin where it is there. Which
// tokens are edited, whether each side has tensors of its own and the activation are not in the
// folder: `answers` says. Throws InputError listing all that is wrong.
ForeignAdapter read_pyreft(const Path& dir, const Model& model, const ImportAnswers& answers);

// What a reader of the exported folder has to be told.
ImportAnswers pyreft_answers(const Adapter& adapter);

// Throws InputError where pyreft has no form for a part of the adapter, or could not open it again.
void write_pyreft(const Path& dir, const Adapter& adapter, const NamedTensors& tensors,
                  const Model& model);

// pyreft's classes of interventions, and the switches of our edit that make the same function.
struct PyreftKind {
  const char* name;  // "LoreftIntervention"
  bool has_rotation, has_linear_source, subtracts;
};
inline constexpr PyreftKind kPyreftKinds[] = {
    {"LoreftIntervention", true, true, true},    {"NoreftIntervention", false, true, true},
    {"ConsreftIntervention", true, false, true}, {"LobireftIntervention", true, false, false},
    {"DireftIntervention", true, true, false},   {"NodireftIntervention", false, true, false}};

// What stands before and behind a block's number in the path of a component of this model:
// "model.layers[" and "].output". Throws InputError for a family whose folders are not read.
std::string pyreft_component(const Model& model, int64_t layer);

// The key of an intervention, as pyvene names it and its file: of the component's path or of a
// layer, with the count of those before it at the same place.
std::string pyreft_key(const std::string& component, int64_t layer, int64_t before);

}  // namespace graft
