#include "cli/common.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/aliases.h"
#include "base/error.h"
#include "base/options.h"
#include "base/printable.h"
#include "edit/adapter.h"

namespace graft {

namespace fs = std::filesystem;

Path share_dir() {
  if (const char* own = std::getenv("GRAFT_SHARE"); own != nullptr) return own;
  char buffer[4096];
  const ssize_t length = ::readlink("/proc/self/exe", buffer, sizeof buffer);
  if (length <= 0) throw IoError("cannot find the program's own path");
  const Path bin = Path(std::string(buffer, static_cast<size_t>(length))).parent_path();
  for (const Path& candidate : {bin / "../share/graft", bin / "../.."}) {
    if (fs::is_directory(candidate / "presets")) return candidate.lexically_normal();
  }
  throw InputError("the folder with presets/ and tasks/ was not found beside " + bin.string() +
                   ": set GRAFT_SHARE to it");
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(share_dir() / "presets")) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

namespace {

constexpr std::string_view kPublished = ":published";

// The paper's settings over Graft's own.
void put_published(const Node* published, const std::string& name, Node& train) {
  if (published == nullptr || published->kind != Node::Kind::kMap) {
    throw InputError(
        "--adapter " + name + std::string(kPublished) + ": " + quote(name) +
        " has no published settings, which are a section 'published:' in its file; leave " +
        std::string(kPublished) + " out");
  }
  for (const auto& [key, value] : published->members) train[key] = value;
}

}  // namespace

AdapterPreset load_preset(const std::string& given) {
  const bool is_published = given.ends_with(kPublished);
  const std::string name_or_path =
      is_published ? given.substr(0, given.size() - kPublished.size()) : given;
  Path path = name_or_path;
  const bool is_file = name_or_path.find('/') != std::string::npos || path.extension() == ".yaml" ||
                       path.extension() == ".yml";
  if (!is_file) {
    path = share_dir() / "presets" / (name_or_path + ".yaml");
    if (std::error_code error; !fs::exists(path, error)) {
      throw InputError("unknown adapter " + quote(name_or_path) +
                       did_you_mean(name_or_path, preset_names()) +
                       "; presets: " + joined(preset_names()) + "; or give a YAML file");
    }
  }
  if (fs::is_directory(path)) {
    throw InputError("--adapter '" + name_or_path +
                     "': expected a preset or a YAML file that says what to train, found a folder; "
                     "--set start_from=FOLDER "
                     "begins with a trained adapter's values");
  }
  AdapterPreset preset;
  preset.source = path.string();
  const Node yaml = parse_yaml(read_file(path), preset.source);
  if (yaml.kind == Node::Kind::kNull)
    throw InputError(preset.source + ": expected 'edits:' with a list, found an empty file");
  Options options(yaml, preset.source);
  preset.about = options.text("about", "");
  preset.definition = Node::map();
  for (const char* key : {"edits", "head"}) {
    if (const Node* node = options.raw(key)) preset.definition[key] = *node;
  }
  if (const Node* train = options.raw("train")) preset.train = *train;
  const Node* published = options.raw("published");
  if (is_published) put_published(published, name_or_path, preset.train);
  options.finish();
  return preset;
}

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
    Node parsed = parse_yaml(value, "--set " + setting);
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
    throw UnknownOption("--set " + setting + ": no edit of this adapter has the option " +
                            quote(key) +
                            (is_known                 ? " (did you mean 'adapter." + last + "'?)"
                             : is_sure || own.empty() ? did_you_mean_setting(last, known)
                                                      : ""),
                        is_sure);
  }
  std::vector<std::string> paths;
  for (const auto& [path, options] : having) paths.push_back("adapter." + path);
  throw InputError("--set " + setting + ": several edits have the option " + quote(key) +
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

// What is wrong with a key that neither an edit has nor the run; `told` says the former.
[[noreturn]] void refuse_unknown(const std::string& key, const std::string& told) {
  std::vector<std::string> known;
  for (const auto& [name, node] : run_settings().members) known.push_back(name);
  throw InputError(told + "; nor is it a setting of the run" + did_you_mean_setting(key, known));
}

// The edits of `definition` with every default written out.
Node described_edits(const Node& definition, const EditTarget& target, const std::string& source) {
  const Node* edits = definition.find("edits");
  const Node written = Node::map({{"edits", edits != nullptr ? *edits : Node::list()}});
  return Adapter(written, source, target, std::nullopt).describe()["edits"];
}

// "--set dropout=0.1 is a setting of the run ...; the option of that name of an edit is
// adapter.0.lora.dropout", or "".
std::string namesake_note(const std::string& key, const std::string& setting, Node& edits) {
  std::vector<std::pair<std::string, Node*>> all;
  if (edits.kind == Node::Kind::kList) collect_options(edits, "", all);
  std::vector<std::string> paths;
  for (const auto& [path, options] : all) {
    if (options->find(key) != nullptr) paths.push_back("adapter." + path + "." + key);
  }
  if (paths.empty()) return "";
  return "--set " + setting +
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
      throw InputError("--set " + quote(setting) +
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
      source += " with --set";
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

std::string setting_help(const std::string& key) {
  static const std::vector<OptionRow> rows = option_rows(RunConfig{});
  for (const OptionRow& row : rows) {
    if (row.name == key) return row.meaning;
  }
  throw InternalError("no setting is called " + quote(key));
}

void check_free_for_adapter(const std::string& out) {
  if (fs::exists(Path(out) / "adapter.json"))
    throw InputError("--out: '" + out + "' holds an adapter already; choose another folder");
  if (fs::exists(Path(out) / "run.yaml"))
    throw InputError("--out: '" + out + "' is a run; choose another folder");
}

DataConfig find_data(const std::string& path) {
  std::error_code error;
  const bool exists = fs::exists(path, error);
  if (error) throw IoError("cannot read --data '" + path + "': " + error.message());
  if (path == "-")
    throw InputError(
        "--data -: training reads its rows again when it goes on after a stop; give a file or a "
        "folder");
  if (!exists) throw InputError("--data '" + path + "': no such file or folder");
  DataConfig data;
  if (!fs::is_directory(path)) {
    data.train = path;
    return data;
  }
  const auto find = [&](const std::vector<std::string>& stems) -> std::string {
    for (const std::string& stem : stems) {
      for (const char* extension : {".tsv", ".csv", ".jsonl", ".json"}) {
        for (const char* packed : {"", ".gz"}) {
          const Path candidate = Path(path) / (stem + extension + packed);
          if (fs::exists(candidate)) return candidate.string();
        }
      }
    }
    return "";
  };
  data.train = find({"train"});
  data.eval = find({"dev", "validation", "valid", "eval"});
  data.test = find({"test"});
  if (data.train.empty())
    throw InputError(
        "--data '" + path +
        "': expected a file, or a folder with train.tsv, .csv, .jsonl or .json, also packed (.gz)");
  return data;
}

void add_precision(CLI::App& command, Precision& value) {
  command
      .add_option_function<std::string>(
          "--precision", [&value](const std::string& name) { value = value_of(kPrecisions, name); },
          "of the trunk: fp32 or bf16")
      ->check(CLI::IsMember(words_of(kPrecisions)));
}

void check_tokenizer(const Provenance& provenance, const ModelText& text,
                     const std::string& adapter, const std::string& model) {
  if (provenance.tokenizer.empty() || text.tokenizer->digest() == provenance.tokenizer) return;
  throw InputError("'" + adapter + "': trained with another tokenizer than " + model +
                   " has; give the model folder it was trained with");
}

void add_ignored_keys(CLI::App& command, std::vector<std::string>& keys) {
  command
      .add_option("--ignore-config-key", keys,
                  "a key of the model's config.json that graft does not know and is to pass over; "
                  "may be given again")
      ->type_name("NAME")
      ->allow_extra_args(false);
}

IgnoredKeys ignored_keys(const std::vector<std::string>& named,
                         const std::vector<std::string>& adapters) {
  IgnoredKeys ignored{.named = named};
  for (const std::string& dir : adapters) {
    if (std::error_code error; dir.empty() || !fs::exists(Path(dir) / "adapter.json", error))
      continue;
    const std::vector<std::string> own = read_adapter_header(dir).provenance.ignored_config_keys;
    ignored.remembered.insert(ignored.remembered.end(), own.begin(), own.end());
  }
  return ignored;
}

CLI::Validator above_zero() {
  return CLI::Validator(
      [](std::string& text) {
        double number = 0;
        return CLI::detail::lexical_cast(text, number) && number > 0
                   ? std::string()
                   : "expected a number above 0, found " + text;
      },
      "above 0");
}

CLI::Validator not_negative() {
  return CLI::Validator(
      [](std::string& text) {
        return text.starts_with("-") ? "expected 0 or more, found " + text : std::string();
      },
      "0 or more");
}

void add_max_length(CLI::App& command, int64_t& value) {
  command
      .add_option("--max-length", value,
                  "tokens of a row; longer ones are cut as the task says, and named (default: as "
                  "in training, else 512)")
      ->check(above_zero());
}

void add_threads(CLI::App& command, int64_t& value) {
  command.add_option("--threads", value, "threads for matrix products (default: all cores)")
      ->check(CLI::Range(0, 1024));
}

void tell_cut(const Dataset& data, const std::string& what) {
  if (data.num_cut() > 0)
    std::fprintf(stderr, "graft: %s: %s\n", what.c_str(), message_text(cut_message(data)).c_str());
}

void set_threads(int64_t threads) {
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
}

}  // namespace graft
