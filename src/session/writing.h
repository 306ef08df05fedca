// What writes texts: a decoder, an adapter that answers in words or none, and prompts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "feed/dataset.h"
#include "infer/texts.h"
#include "session/loading.h"

namespace graft {

// Prompts by themselves may be of any task and as long as the model serves; rows of a file are of
// the task that says which column is the prompt, and as long as in training.
enum class PromptUse { kAlone, kOfRows };

// Throws InputError where the model is an encoder or a classifier.
void check_writes(const OpenedModel& opened);

// Throws InputError where the adapter in folder `dir` answers by a head.
void check_answers_in_words(const LoadedAdapter& loaded, const std::string& dir);

// The adapter in folder `dir`, or none where that is empty. Throws InputError where it answers by a
// head.
LoadedAdapter load_for_writing(const std::string& dir, const OpenedModel& opened);

// `given`, or the adapter's own; of prompts alone any other is left aside but for its chat format.
// `chat`: in the place of the task's own, where not empty. Throws InputError where there is none
// that writes.
Task writing_task(const std::optional<Task>& given, const LoadedAdapter& loaded, PromptUse use,
                  const std::string& chat);

// A text to go on from. `source`: what it is called in messages.
Example prompt_example(const std::string& text, int64_t id, const std::string& source);

// max_length 0: for rows what training saw of one, for prompts alone what the model serves, beyond
// which one is refused.
Dataset encode_prompts(std::vector<Example> examples, const Task& task, const OpenedModel& opened,
                       const LoadedAdapter& loaded, PromptUse use, int64_t max_length);

// How texts are to be written, as the user asks for it.
struct GenerationRequest {
  Node given = Node::map();  // by the names of infer/generation_settings.h
  uint64_t seed = 0;
  bool ignores_model = false;  // the model's own settings
};

struct ResolvedGeneration {
  GenerateOptions options;
  std::string note;  // what the model's own settings add; may be empty
};

// What is asked for over what the model's files say. `source`: of the former, in messages. Throws
// InputError as read_model_generation and join_generation do.
ResolvedGeneration resolve_generation(const GenerationRequest& request, const OpenedModel& opened,
                                      const std::string& source);

}  // namespace graft
