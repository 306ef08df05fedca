#include "session/settings.h"

#include <algorithm>

#include "base/aliases.h"
#include "base/error.h"
#include "base/options.h"
#include "base/spelling.h"
#include "edit/adapter.h"
#include "train/config.h"

namespace graft {

namespace {

// Every map of options in `edits`, with its path: "0.lora", and inside a combinator
// "0.gate.of.lora" or "0.gate.of.1.lora".
void collect_options(Node& edits, const std::string& path,
                     std::vector<std::pair<std::string, Node*>>& out);

void collect_entry(Node& entry, const std::string& path,
                   std::vector<std::pair<std::string, Node*>>& out) {
  std::string kind;
  for (auto& [name, options] : entry.members) {
    if (name == "of") continue;
    kind = name;
    if (options.kind == Node::Kind::kMap) out.emplace_back(path + name, &options);
  }
  Node* of = entry.find("of") == nullptr ? nullptr : &entry["of"];
  if (of != nullptr && of->kind == Node::Kind::kMap) collect_entry(*of, path + kind + ".of.", out);
  if (of != nullptr && of->kind == Node::Kind::kList)
    collect_options(*of, path + kind + ".of.", out);
}

void collect_options(Node& edits, const std::string& path,
                     std::vector<std::pair<std::string, Node*>>& out) {
  for (size_t i = 0; i < edits.items.size(); ++i)
    collect_entry(edits.items[i], path + std::to_string(i) + ".", out);
}

// No edit has such an option; another setting may, unless it is sure what was meant.
class UnknownOption : public InputError {
 public:
  UnknownOption(const std::string& message, bool is_sure)
      : InputError(message), is_sure_(is_sure) {}
  bool is_sure() const { return is_sure_; }

 private:
  bool is_sure_;
};

void set_adapter_option(Node& definition, const std::string& key, const std::string& value,
                        const std::string& setting) {
  std::vector<std::pair<std::string, Node*>> all;
  if (Node* edits = &definition["edits"]; edits->kind == Node::Kind::kList)
    collect_options(*edits, "", all);
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
  if (having.empty()) {
    const std::string last =
        key.substr(key.rfind('.') + 1);  // lora.rank: the option is there, the way to it is not
    const bool is_known = last != key && std::find(known.begin(), known.end(), last) != known.end();
    const std::vector<std::string> own = own_names(last);
    const bool is_sure = std::any_of(own.begin(), own.end(), [&](const std::string& name) {
      return std::find(known.begin(), known.end(), name) != known.end();
    });
    throw UnknownOption(setting_text(setting) + ": no edit of this adapter has the option " +
                            quote(key) +
                            (is_known                 ? " (did you mean 'adapter." + last + "'?)"
                             : is_sure || own.empty() ? did_you_mean_setting(last, known)
                                                      : ""),
                        is_sure);
  }
  std::vector<std::string> paths;
  for (const auto& [path, options] : having) paths.push_back("adapter." + path);
  throw InputError(setting_text(setting) + ": several edits have the option " + quote(key) +
                   "; say which: " + joined(paths, "or"));
}

const Node& run_settings() {
  static const Node known = run_config_node({});
  return known;
}

bool is_run_key(const std::string& key) {
  return run_settings().find(key.substr(0, key.find('.'))) != nullptr &&
         !key.starts_with("adapter.");
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
std::string namesake_note(const std::string& key, const std::string& setting, Node& edits) {
  std::vector<std::pair<std::string, Node*>> all;
  if (edits.kind == Node::Kind::kList) collect_options(edits, "", all);
  std::vector<std::string> paths;
  for (const auto& [path, options] : all) {
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
    const size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
      throw InputError(setting_text(quote(setting)) +
                       ": expected key=value, such as epochs=5 or adapter.rank=4");
    const std::string key = setting.substr(0, equals), value = setting.substr(equals + 1);
    if (key.starts_with("head.")) {
      set_path(definition, key, value);
      continue;
    }
    if (is_run_key(key)) {
      Node edits = is_filled ? definition["edits"] : described_edits(definition, target, source);
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
