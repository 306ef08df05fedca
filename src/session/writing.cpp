#include "session/writing.h"

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "infer/generation_settings.h"
#include "infer/model_generation.h"

namespace graft {

void check_writes(const OpenedModel& opened) {
  const ModelConfig& config = opened.model->config;
  if (!config.has_decoder())
    throw InputError(option_name("model") + ": " + opened.path + " is a " + config.model_type +
                     " model, an encoder, and writes no text; take a decoder");
  if (!config.has_output_layer())
    throw InputError(
        option_name("model") + ": " + opened.path +
        " holds a classifier, which has no layer over the vocabulary and writes no text");
}

void check_answers_in_words(const LoadedAdapter& loaded, const std::string& dir) {
  if (loaded.adapter.head() == nullptr) return;
  throw InputError(option_name("adapter") + ": '" + dir +
                   "' answers by a head, not in words; label rows with graft predict");
}

LoadedAdapter load_for_writing(const std::string& dir, const OpenedModel& opened) {
  const EditTarget target{opened.model->config, opened.model->sites};
  if (dir.empty()) return {Adapter::none(target), {}, {}};
  LoadedAdapter loaded = load_checked(dir, opened);
  check_answers_in_words(loaded, dir);
  return loaded;
}

Task writing_task(const std::optional<Task>& given, const LoadedAdapter& loaded, PromptUse use,
                  const std::string& chat) {
  std::optional<Task> task = given ? given : loaded.adapter.task();
  if (task && task->kind() != TaskKind::kGeneration) {
    if (use == PromptUse::kOfRows || given)
      throw InputError(option_name("task") + ": " + quote(task->name) +
                       " has no texts to write; expected a task of kind: generation");
    task.reset();
  }
  if (!task) {
    if (use == PromptUse::kOfRows)
      throw InputError(option_name("data") + ": which column is the prompt? Give " +
                       option_name("task") + ", a task of kind: generation (doc/data.md)");
    task.emplace();
    task->name = "prompt";
    task->question = Generation{};
  }
  if (!chat.empty()) task->at<Generation>().chat = chat;
  return *task;
}

Example prompt_example(const std::string& text, int64_t id, const std::string& source) {
  Example example;
  example.id = id;
  example.text = text;
  example.row = GenerationRow{};
  example.id_text = std::to_string(id);
  example.source = std::make_shared<const std::string>(source);
  return example;
}

Dataset encode_prompts(std::vector<Example> examples, const Task& task, const OpenedModel& opened,
                       const LoadedAdapter& loaded, PromptUse use, int64_t max_length) {
  const ModelConfig& config = opened.model->config;
  loaded.adapter.check_subspaces(examples);
  const RowLayout layout = loaded.adapter.layout();
  const int64_t longest = std::min<int64_t>(positions_for_tokens(config, layout), 1 << 20);
  const int64_t asked = max_length > 0             ? max_length
                        : use == PromptUse::kAlone ? 0
                                                   : loaded.provenance.max_length;
  Dataset data = encode_examples(std::move(examples), task, opened.text, config,
                                 resolve_max_length(asked > 0 ? asked : longest, config, layout),
                                 TargetUse::kLeaveOut);
  if (use == PromptUse::kAlone && max_length == 0 && data.num_cut() > 0)
    throw InputError(data.examples[static_cast<size_t>(data.cut.front().row)].where() +
                     "the prompt is longer than the " + std::to_string(longest) + " tokens that " +
                     opened.path + " serves; shorten it");
  return data;
}

ResolvedGeneration resolve_generation(const GenerationRequest& request, const OpenedModel& opened,
                                      const std::string& source) {
  const ModelGeneration own = request.ignores_model
                                  ? ModelGeneration{}
                                  : read_model_generation(opened.path, opened.model->config);
  JoinedGeneration joined = join_generation(request.given, own.settings, source, own.source);
  joined.options.sampling.seed = request.seed;
  return {std::move(joined.options), own.note(joined.from_model)};
}

}  // namespace graft
