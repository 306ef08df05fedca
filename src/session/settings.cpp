#include "session/settings.h"

#include <algorithm>

#include "base/aliases.h"
#include "base/edit_paths.h"
#include "base/error.h"
#include "base/options.h"
#include "base/spelling.h"
#include "edit/adapter.h"
#include "train/config.h"

namespace graft {

namespace {

// No edit has such an option; another setting may, unless it is sure what was meant.
class UnknownOption : public InputError {
 public:
  UnknownOption(const std::string& message, bool is_sure)
      : InputError(message), is_sure_(is_sure) {}
  bool is_sure() const { return is_sure_; }

 private:
  bool is_sure_;
};

const Node& run_settings() {
  static const Node known = run_config_node({});
  return known;
}

bool is_run_key(const std::string& key) {
  return run_settings().find(key.substr(0, key.find('.'))) != nullptr &&
         !key.starts_with("adapter.");
}

// What was meant by `key`, which no edit has; `known`: what the edits do have.
UnknownOption unknown_option(const std::string& key, const std::vector<std::string>& known,
                             const std::string& setting) {
  const std::string told =
      setting_text(setting) + ": no edit of this adapter has the option " + quote(key);
  const std::string last =
      key.substr(key.rfind('.') + 1);  // lora.rank: the option is there, the way to it is not
  if (last != key && std::find(known.begin(), known.end(), last) != known.end())
    return {told + " (did you mean 'adapter." + last + "'?)", false};
  if (const std::string preset = preset_called(last); !preset.empty())
    return {told + " (did you mean '" + option_name("adapter") + " " + preset + "'?)", true};
  std::vector<std::string> written;  // alone, a name that the run has too is the run's
  for (const std::string& name : known)
    written.push_back(is_run_key(name) ? "adapter." + name : name);
  const std::vector<std::string> own = own_names(last);
  const bool is_sure = std::any_of(own.begin(), own.end(), [&](const std::string& name) {
    return std::find(written.begin(), written.end(), name) != written.end();
  });
  return {told + (is_sure || own.empty() ? did_you_mean_setting(last, written) : ""), is_sure};
}

void set_adapter_option(Node& definition, const std::string& key, const std::string& value,
                        const std::string& setting) {
  const std::vector<std::pair<std::string, Node*>> all = edit_options(definition["edits"]);
  std::vector<std::pair<std::string, Node*>> having;
  std::vector<std::string> known;
  for (const auto& [path, options] : all) {
    for (const auto& [name, old] : options->members) {
      known.push_back(name);
      if (name == key || path + "." + name == key) having.emplace_back(path + "." + name, options);
    }
  }
  if (having.size() == 1) {
    Node parsed = parse_yaml(value, setting_text(setting));
    parsed.line = parsed.column = 0;  // of no file
    (*having.front().second)[key.substr(key.rfind('.') + 1)] = std::move(parsed);
    return;
  }
  if (having.empty()) throw unknown_option(key, known, setting);
  std::vector<std::string> paths;
  for (const auto& [path, options] : having) paths.push_back("adapter." + path);
  throw InputError(setting_text(setting) + ": several edits have the option " + quote(key) +
                   "; say which: " + joined(paths, "or"));
}

}  // namespace

std::string full_setting_name(const std::string& key) {
  const bool is_full = key.starts_with("adapter.") || key.starts_with("head.") || is_run_key(key);
  return is_full ? key : "adapter." + key;
}

namespace {

// What is wrong with a key that neither an edit has nor the run; `told` says the former.
[[noreturn]] void refuse_unknown(const std::string& key, const std::string& told) {
  std::vector<std::string> known;
  for (const OptionRow& row : option_rows(RunConfig{})) known.push_back(row.name);
  throw InputError(told + "; nor is it a setting of the run" + did_you_mean_setting(key, known));
}

// The edits of `definition` with every default written out.
Node described_edits(const Node& definition, const EditTarget& target, const std::string& source) {
  const Node* edits = definition.find("edits");
  const Node written = Node::map({{"edits", edits != nullptr ? *edits : Node::list()}});
  return Adapter(written, source, target, std::nullopt).describe()["edits"];
}

// "dropout=0.1 is a setting of the run ...; the option of that name of an edit is
// adapter.0.lora.dropout", or "".
std::string namesake_note(const std::string& key, const std::string& setting, const Node& edits) {
  std::vector<std::string> paths;
  for (const auto& [path, options] : edit_options(edits)) {
    if (options->find(key) != nullptr) paths.push_back("adapter." + path + "." + key);
  }
  if (paths.empty()) return "";
  return setting_text(setting) +
         " is a setting of the run (doc/run_folder.md); the option of that name of an edit is " +
         joined(paths, "or");
}

}  // namespace

std::vector<std::string> apply_settings(const std::vector<std::string>& settings,
                                        const EditTarget& target, std::string& source,
                                        Node& definition, Node& run) {
  std::vector<std::string> notes;
  bool is_filled = false;
  for (const std::string& setting : settings) {
    const auto parts = key_and_value(setting);
    if (!parts)
      throw InputError(setting_text(quote(setting)) +
                       ": expected key=value, such as epochs=5 or adapter.rank=4");
    const auto& [key, value] = *parts;
    if (key.starts_with("head.")) {
      set_path(definition, key, value);
      continue;
    }
    if (is_run_key(key)) {
      const Node edits =
          is_filled ? definition["edits"] : described_edits(definition, target, source);
      if (std::string note = namesake_note(key, setting, edits); !note.empty())
        notes.push_back(std::move(note));
      set_path(run, key, value);
      continue;
    }
    if (!is_filled) {
      definition["edits"] = described_edits(definition, target, source);
      is_filled = true;
      source += " with " + settings_name();
    }
    const bool is_explicit = key.starts_with("adapter.");
    try {
      set_adapter_option(definition, is_explicit ? key.substr(8) : key, value, setting);
    } catch (const UnknownOption& error) {
      if (is_explicit || error.is_sure()) throw;
      refuse_unknown(key, error.what());
    }
  }
  return notes;
}

}  // namespace graft
