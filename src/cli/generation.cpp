#include "cli/generation.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/printable.h"
#include "base/wording.h"
#include "cli/common.h"
#include "infer/generation_settings.h"

namespace graft {

namespace {

const OptionRow& declared(const std::string& setting) {
  static const std::vector<OptionRow> rows = listed([](OptionVisitor& v) {
    GenerateOptions options{.max_new_tokens = kAsFits};
    visit_generation(v, options);
  });
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [&](const OptionRow& row) { return row.name == setting; });
  ensure(found != rows.end(), "flags of declared settings");
  return *found;
}

// --top-k for top_k, with what the declaration says of it. `read` makes its value of the flag's.
template <typename Value>
CLI::Option* add_flag_of(CLI::App& command, GenerationRequest& flags, const std::string& setting,
                         Node (*read)(Value value)) {
  std::string flag = "--" + setting;
  std::replace(flag.begin(), flag.end(), '_', '-');
  const OptionRow& row = declared(setting);
  const auto put = [&flags, setting, read](const Value& value) {
    flags.given[setting] = read(value);
  };
  return command
      .add_option_function<Value>(
          flag, put, row.meaning + " (default: the model's own, else " + row.usual + ")")
      ->group(kGenerationGroup);
}

void add_integer(CLI::App& command, GenerationRequest& flags, const char* setting) {
  const NumberLimits limits = declared(setting).limits.value();
  add_flag_of<int64_t>(command, flags, setting, Node::integer)
      ->check(CLI::Range(static_cast<int64_t>(limits.least), static_cast<int64_t>(limits.most)));
}

void add_number(CLI::App& command, GenerationRequest& flags, const char* setting) {
  const NumberLimits limits = declared(setting).limits.value();
  const auto check = [limits](const std::string& text) {
    const std::optional<double> number = finite_number(text);
    const bool fits = number && *number >= limits.least && *number <= limits.most;
    return fits ? "" : "expected " + limits_text(limits) + ", found " + text;
  };
  add_flag_of<double>(command, flags, setting, Node::number)
      ->check(CLI::Validator(check, limits_text(limits)));
}

}  // namespace

void add_generation(CLI::App& command, GenerationRequest& flags) {
  add_integer(command, flags, "max_new_tokens");
  add_integer(command, flags, "min_new_tokens");
  add_number(command, flags, "temperature");
  add_integer(command, flags, "top_k");
  add_number(command, flags, "top_p");
  add_number(command, flags, "repetition_penalty");
  add_integer(command, flags, "no_repeat_ngram");
  add_flag_of<std::string>(command, flags, "no_repeat_ngram_in", Node::text)
      ->check(CLI::IsMember(words_of(kNgramsOf)));
  add_integer(command, flags, "encoder_no_repeat_ngram");
  add_flag_of<std::vector<int64_t>>(command, flags, "end_ids",
                                    [](std::vector<int64_t> ids) { return Node::integers(ids); });
  command.add_option("--seed", flags.seed, "draws the tokens (default 0)")
      ->check(not_negative())
      ->group(kGenerationGroup);
  add_integer(command, flags, "beams");
  add_number(command, flags, "length_penalty");
  add_flag_of<std::string>(command, flags, "early_stopping", Node::text)
      ->check(CLI::IsMember(words_of(kEarlyStoppings)));
  add_ignore_generation_config(command, flags.ignores_model);
}

void add_ignore_generation_config(CLI::App& command, bool& value) {
  command
      .add_flag("--ignore-generation-config", value,
                "write texts without the model's own settings (its generation_config.json, or "
                "config.json)")
      ->group(kGenerationGroup);
}

GenerateOptions generation_of(const GenerationRequest& flags, const OpenedModel& opened,
                              bool is_quiet) {
  ResolvedGeneration resolved = resolve_generation(flags, opened, "flags");
  if (!resolved.note.empty() && !is_quiet)
    std::fprintf(stderr, "%s\n", message_text(resolved.note).c_str());
  return std::move(resolved.options);
}

}  // namespace graft
