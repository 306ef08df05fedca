#include "cli/foreign_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/aliases.h"
#include "base/error.h"
#include "base/spelling.h"
#include "edit/registry.h"
#include "train/config.h"

namespace graft {

namespace {

using Names = std::vector<std::string>;

void add_names(const std::vector<OptionRow>& rows, Names& names) {
  for (const OptionRow& row : rows) names.push_back(row.name);
}

Names settings_of_runs() {
  Names names;
  add_names(option_rows(RunConfig{}), names);
  return names;
}

Names settings_of_edits() {
  Names names;
  for (const Names& methods : {known_edits(), known_combinators()}) {
    for (const std::string& method : methods) add_names(method_named(method).options(), names);
  }
  return names;
}

// "batch_size" of "--batch-size=8".
std::string name_of(const std::string& option) {
  std::string name = option.substr(0, option.find('='));
  name.erase(0, std::min(name.find_first_not_of('-'), name.size()));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// "epochs", where --set of the command takes that.
std::string setting_of(const std::string& name, const CLI::App& command) {
  if (command.get_option_no_throw(settings_name()) == nullptr) return "";
  const bool trains = command.get_name() == "train";  // a plan has settings of the adapter alone
  const std::string of_run = trains ? setting_called(name, settings_of_runs()) : "";
  if (!of_run.empty()) return of_run;
  const Names runs = settings_of_runs();
  const std::string of_edit = setting_called(name, settings_of_edits());
  const bool is_both = std::find(runs.begin(), runs.end(), of_edit) != runs.end();
  return (is_both ? "adapter." : "") + of_edit;
}

// "--eval" for "data.eval", "--out" for "out": the option of the command that stands for a setting.
std::string option_of(const std::string& setting, const CLI::App& command) {
  for (const std::string& name : {setting, setting.substr(setting.rfind('.') + 1)}) {
    const std::string option = option_name(name);
    if (command.get_option_no_throw(option) != nullptr) return option;
  }
  return "";
}

// What stands behind an option on the command line, or "..." where nothing does.
std::string value_behind(const std::string& option, const Names& words) {
  if (const size_t equals = option.find('='); equals != std::string::npos)
    return option.substr(equals + 1);
  const auto found = std::find(words.begin(), words.end(), option);
  const bool has_value =
      found != words.end() && found + 1 != words.end() && !(found + 1)->starts_with("--");
  return has_value ? *(found + 1) : "...";
}

}  // namespace

std::string did_you_mean_option(const std::string& wrong, const Names& words,
                                const CLI::App& command) {
  const std::string name = name_of(wrong);
  if (const std::string own = option_of(setting_called(name, settings_of_runs()), command);
      !own.empty())
    return " (did you mean '" + own + "'?)";
  if (const std::string setting = setting_of(name, command); !setting.empty())
    return " (did you mean '" + setting_text(setting + "=" + value_behind(wrong, words)) + "'?)";
  Names options;
  for (const CLI::Option* each : command.get_options()) options.push_back(each->get_name());
  return did_you_mean(wrong, options);
}

}  // namespace graft
