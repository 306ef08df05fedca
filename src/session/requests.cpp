#include "session/requests.h"

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "session/writing.h"

namespace graft {

namespace {

// The prompts of one adapter.
struct AdapterPrompts {
  const AdapterState* adapter = nullptr;
  Generation generation;         // of its task
  std::vector<size_t> requests;  // index of each
  std::vector<Sequence> sequences = {};
};

bool share_passes(const AdapterPrompts& a, const AdapterPrompts& b) {
  return !a.adapter->loaded.adapter.rewrites_trunk() &&
         !b.adapter->loaded.adapter.rewrites_trunk() && a.generation.chat == b.generation.chat &&
         a.generation.stop == b.generation.stop;
}

Task task_of(const AdapterState& adapter, const WritingOptions& options) {
  check_answers_in_words(adapter.loaded, adapter.path);
  const std::optional<Task>& own = adapter.loaded.adapter.task();
  Task task = writing_task(adapter.task != own ? adapter.task : std::nullopt, adapter.loaded,
                           PromptUse::kAlone, options.chat);
  if (!options.stop.empty()) task.at<Generation>().stop = options.stop;
  return task;
}

// Requests are counted from 1 in messages.
std::vector<AdapterPrompts> by_adapter(const OpenedModel& opened,
                                       const std::vector<AdapterPrompt>& prompts,
                                       const WritingOptions& options,
                                       const GenerateOptions& generate) {
  std::vector<AdapterPrompts> all;
  for (size_t i = 0; i < prompts.size(); ++i) {
    auto own = std::find_if(all.begin(), all.end(), [&](const AdapterPrompts& each) {
      return each.adapter == prompts[i].adapter;
    });
    if (own == all.end()) own = all.insert(all.end(), {prompts[i].adapter, {}, {}});
    own->requests.push_back(i);
  }
  for (AdapterPrompts& own : all) {
    const Task task = task_of(*own.adapter, options);
    std::vector<Example> examples;
    for (const size_t i : own.requests)
      examples.push_back(prompt_example(*prompts[i].text, static_cast<int64_t>(i),
                                        "request:" + std::to_string(i + 1)));
    own.generation = task.at<Generation>();
    Dataset data = encode_prompts(std::move(examples), task, opened, own.adapter->loaded,
                                  PromptUse::kAlone, /*max_length=*/0);
    check_prompts(opened.model->config, own.adapter->loaded.adapter.layout(), data, generate);
    own.sequences = std::move(data.sequences);
  }
  return all;
}

GenerateOptions generate_options(const OpenedModel& opened, const WritingOptions& options) {
  GenerationRequest request{.ignores_model = options.ignores_model_settings};
  for (const std::string& setting : options.settings) {
    const auto parts = key_and_value(setting);
    if (!parts)
      throw InputError(quote(setting) + ": expected key=value, such as max_new_tokens=60");
    set_path(request.given, parts->first, parts->second);
  }
  std::erase_if(request.given.members, [&](const auto& member) {
    if (member.first != "seed") return false;
    const Node only = Node::map({member});
    Options seed(only, "settings");
    request.seed = static_cast<uint64_t>(seed.integer("seed", std::nullopt, 0, INT64_MAX));
    seed.finish();
    return true;
  });
  return resolve_generation(request, opened, "settings").options;
}

// The texts of adapters that share passes.
void write_group(const OpenedModel& opened, const std::vector<const AdapterPrompts*>& group,
                 const GenerateOptions& generate, const WritingOptions& options,
                 std::vector<GeneratedText>& out) {
  std::vector<LaneAdapter> lanes;
  std::vector<size_t> lane_of, requests;
  std::vector<Sequence> sequences;
  for (const AdapterPrompts* own : group) {
    lane_of.insert(lane_of.end(), own->sequences.size(), lanes.size());
    lanes.push_back({&own->adapter->bound, {}});
    requests.insert(requests.end(), own->requests.begin(), own->requests.end());
    sequences.insert(sequences.end(), own->sequences.begin(), own->sequences.end());
  }
  WriteOptions writing{.generate = generate,
                       .chat = group.front()->generation.chat,
                       .stop = group.front()->generation.stop};
  if (options.on_text) {
    writing.on_text = [&](int64_t prompt, const std::string& piece) {
      options.on_text(requests[static_cast<size_t>(prompt)], piece);
    };
  }
  Written written = write_texts(*opened.model, lanes, lane_of, sequences, opened.text, writing);
  for (size_t i = 0; i < requests.size(); ++i) {
    WrittenText& text = written.texts[i];
    out[requests[i]] = {std::move(text.text), std::move(text.generated.tokens),
                        text.generated.log_probability, word_of(kFinishes, text.generated.finish)};
  }
}

}  // namespace

std::vector<GeneratedText> write_side_by_side(const OpenedModel& opened,
                                              const std::vector<AdapterPrompt>& prompts,
                                              const WritingOptions& options) {
  if (std::find(options.stop.begin(), options.stop.end(), "") != options.stop.end())
    throw InputError(option_name("stop") +
                     ": expected texts, found an empty one, which would end every answer before "
                     "its first word; leave it out");
  const GenerateOptions generate = generate_options(opened, options);
  const std::vector<AdapterPrompts> all = by_adapter(opened, prompts, options, generate);
  std::vector<std::vector<const AdapterPrompts*>> groups;
  for (const AdapterPrompts& own : all) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& each) {
      return share_passes(*each.front(), own);
    });
    if (group == groups.end()) groups.push_back({&own});
    else group->push_back(&own);
  }
  std::vector<GeneratedText> out(prompts.size());
  for (const auto& group : groups) write_group(opened, group, generate, options, out);
  return out;
}

}  // namespace graft
