#include "cli/generation.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/printable.h"
#include "cli/common.h"
#include "infer/generation_settings.h"
#include "infer/model_generation.h"

namespace graft {

namespace {

// A flag whose number becomes the setting `key`.
template <typename Number>
CLI::Option* add_number(CLI::App& command, GenerationFlags& flags, const char* flag, const char* key, const std::string& about) {
  const auto put = [&flags, key](const Number& value) {
    if constexpr (std::is_integral_v<Number>) flags.given[key] = Node::integer(value);
    else flags.given[key] = Node::number(value);
  };
  return command.add_option_function<Number>(flag, put, about)->group(kGenerationGroup);
}

}  // namespace

void add_generation(CLI::App& command, GenerationFlags& flags) {
  const auto integer = [&](const char* flag, const char* key, const std::string& about, int least) {
    add_number<int64_t>(command, flags, flag, key, about)->check(CLI::Range(least, 1 << 20));
  };
  const auto number = [&](const char* flag, const char* key, const std::string& about) {
    add_number<double>(command, flags, flag, key, about);
  };
  integer("--max-new-tokens", "max_new_tokens",
          "longest text to write (default: the model's own setting, else 128, or what its positions leave room for)", 1);
  integer("--min-new-tokens", "min_new_tokens", "no end before so many tokens", 0);
  number("--temperature", "temperature", "0: always the most probable token; 1: as the model says; more: wilder (default 0)");
  integer("--top-k", "top_k", "draw from the k most probable tokens only", 0);
  number("--top-p", "top_p", "draw from the most probable tokens that reach this probability together");
  number("--repetition-penalty", "repetition_penalty", "above 1: tokens of the text so far become less probable");
  integer("--no-repeat-ngram", "no_repeat_ngram", "no sequence of so many tokens twice", 0);
  integer("--encoder-no-repeat-ngram", "encoder_no_repeat_ngram", "no sequence of so many tokens that stands in the prompt", 0);
  command.add_option("--seed", flags.seed, "draws the tokens (default 0)")->check(not_negative())->group(kGenerationGroup);
  integer("--beams", "beams", "beam search over so many texts", 1);
  number("--length-penalty", "length_penalty", "of beam search: above 0 favours long texts (default 1)");
  command
      .add_option_function<std::string>(
          "--early-stopping", [&flags](const std::string& name) { flags.given["early_stopping"] = Node::text(name); },
          "of beam search: no (default), when no better text is likely; yes, when as many texts as beams are done; never, when "
          "no better one is possible")
      ->check(CLI::IsMember({"no", "yes", "never"}))
      ->group(kGenerationGroup);
  add_ignore_generation_config(command, flags.ignores_model);
}

void add_ignore_generation_config(CLI::App& command, bool& value) {
  command
      .add_flag("--ignore-generation-config", value,
                "write texts without the model's own settings (its generation_config.json, or config.json)")
      ->group(kGenerationGroup);
}

GenerateOptions resolve_generation(const GenerationFlags& flags, const Path& model, const ModelConfig& config, bool is_quiet) {
  const ModelGeneration own = flags.ignores_model ? ModelGeneration{} : read_model_generation(model, config);
  JoinedGeneration joined = join_generation(flags.given, own.settings, own.source.empty() ? "flags" : own.source + " and flags");
  joined.options.sampling.seed = flags.seed;
  if (const std::string note = own.note(joined.from_model); !note.empty() && !is_quiet)
    std::fprintf(stderr, "%s\n", message_text(note).c_str());
  return joined.options;
}

}  // namespace graft
