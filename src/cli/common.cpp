#include "cli/common.h"

#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "base/options.h"
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
  throw InputError("the folder with presets/ and tasks/ was not found beside " + bin.string() + ": set GRAFT_SHARE to it");
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(share_dir() / "presets")) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

AdapterPreset load_preset(const std::string& name_or_path) {
  Path path = name_or_path;
  const bool is_file = name_or_path.find('/') != std::string::npos || path.extension() == ".yaml" || path.extension() == ".yml";
  if (!is_file) {
    path = share_dir() / "presets" / (name_or_path + ".yaml");
    if (std::error_code error; !fs::exists(path, error)) {
      throw InputError("unknown adapter " + quote(name_or_path) + did_you_mean(name_or_path, preset_names()) +
                       "; presets: " + joined(preset_names()) + "; or give a YAML file");
    }
  }
  if (fs::is_directory(path)) {
    throw InputError("--adapter '" + name_or_path +
                     "': expected a preset or a YAML file that says what to train, found a folder; --set start_from=FOLDER "
                     "begins with a trained adapter's values");
  }
  AdapterPreset preset;
  preset.source = path.string();
  const Node yaml = parse_yaml(read_file(path), preset.source);
  if (yaml.kind == Node::Kind::kNull) throw InputError(preset.source + ": expected 'edits:' with a list, found an empty file");
  Options options(yaml, preset.source);
  preset.about = options.text("about", "");
  preset.definition = Node::map();
  for (const char* key : {"edits", "head"}) {
    if (const Node* node = options.raw(key)) preset.definition[key] = *node;
  }
  if (const Node* train = options.raw("train")) preset.train = *train;
  options.finish();
  return preset;
}

namespace {

// Every map of options in `edits`, with its path: "0.lora", and inside a combinator "0.gate.of.lora" or "0.gate.of.1.lora".
void collect_options(Node& edits, const std::string& path, std::vector<std::pair<std::string, Node*>>& out);

void collect_entry(Node& entry, const std::string& path, std::vector<std::pair<std::string, Node*>>& out) {
  std::string kind;
  for (auto& [name, options] : entry.members) {
    if (name == "of") continue;
    kind = name;
    if (options.kind == Node::Kind::kMap) out.emplace_back(path + name, &options);
  }
  Node* of = entry.find("of") == nullptr ? nullptr : &entry["of"];
  if (of != nullptr && of->kind == Node::Kind::kMap) collect_entry(*of, path + kind + ".of.", out);
  if (of != nullptr && of->kind == Node::Kind::kList) collect_options(*of, path + kind + ".of.", out);
}

void collect_options(Node& edits, const std::string& path, std::vector<std::pair<std::string, Node*>>& out) {
  for (size_t i = 0; i < edits.items.size(); ++i) collect_entry(edits.items[i], path + std::to_string(i) + ".", out);
}

// No edit has such an option; another setting may.
class UnknownOption : public InputError {
 public:
  using InputError::InputError;
};

void set_adapter_option(Node& definition, const std::string& key, const std::string& value, const std::string& setting) {
  std::vector<std::pair<std::string, Node*>> all;
  if (Node* edits = &definition["edits"]; edits->kind == Node::Kind::kList) collect_options(*edits, "", all);
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
    const std::string last = key.substr(key.rfind('.') + 1);  // lora.rank: the option is there, the way to it is not
    const bool is_known = last != key && std::find(known.begin(), known.end(), last) != known.end();
    throw UnknownOption("--set " + setting + ": no edit of this adapter has the option " + quote(key) +
                        (is_known ? " (did you mean 'adapter." + last + "'?)" : did_you_mean(key, known)));
  }
  std::vector<std::string> paths;
  for (const auto& [path, options] : having) paths.push_back("adapter." + path);
  throw InputError("--set " + setting + ": several edits have the option " + quote(key) + "; say which: " + joined(paths, "or"));
}

bool is_run_key(const std::string& key) {
  static const Node known = run_config_node({});
  return known.find(key.substr(0, key.find('.'))) != nullptr && !key.starts_with("adapter.");
}

}  // namespace

void apply_settings(const std::vector<std::string>& settings, const EditTarget& target, std::string& source, Node& definition,
                    Node& run) {
  bool is_filled = false;
  for (const std::string& setting : settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
      throw InputError("--set " + quote(setting) + ": expected key=value, such as epochs=5 or adapter.rank=4");
    const std::string key = setting.substr(0, equals), value = setting.substr(equals + 1);
    if (key.starts_with("head.")) {
      set_path(definition, key, value);
    } else if (is_run_key(key)) {
      set_path(run, key, value);
    } else {
      if (!is_filled) {
        Node edits = Node::map({{"edits", definition.find("edits") != nullptr ? *definition.find("edits") : Node::list()}});
        definition["edits"] = Adapter(edits, source, target, std::nullopt).describe()["edits"];
        is_filled = true;
        source += " with --set";
      }
      const bool is_explicit = key.starts_with("adapter.");
      try {
        set_adapter_option(definition, is_explicit ? key.substr(8) : key, value, setting);
      } catch (const UnknownOption& error) {
        if (is_explicit) throw;
        std::vector<std::string> known;
        for (const auto& [name, node] : run_config_node({}).members) known.push_back(name);
        throw InputError(std::string(error.what()) + "; nor is it a setting of the run" + did_you_mean(key, known));
      }
    }
  }
}

void check_free_for_adapter(const std::string& out) {
  if (fs::exists(Path(out) / "adapter.json"))
    throw InputError("--out: '" + out + "' holds an adapter already; choose another folder");
  if (fs::exists(Path(out) / "run.yaml")) throw InputError("--out: '" + out + "' is a run; choose another folder");
}

void check_not_rows(const char* flag, const std::string& out, const std::string& data) {
  std::error_code error;
  if (!out.empty() && fs::equivalent(out, data, error))
    throw InputError(std::string(flag) + ": '" + out + "' is the file of --data, which it would replace; choose another");
}

DataConfig find_data(const std::string& path) {
  std::error_code error;
  const bool exists = fs::exists(path, error);
  if (error) throw IoError("cannot read --data '" + path + "': " + error.message());
  if (!exists) throw InputError("--data '" + path + "': no such file or folder");
  DataConfig data;
  if (!fs::is_directory(path)) {
    data.train = path;
    return data;
  }
  const auto find = [&](const std::vector<std::string>& stems) -> std::string {
    for (const std::string& stem : stems) {
      for (const char* extension : {".tsv", ".csv", ".jsonl", ".json"}) {
        const Path candidate = Path(path) / (stem + extension);
        if (fs::exists(candidate)) return candidate.string();
      }
    }
    return "";
  };
  data.train = find({"train"});
  data.eval = find({"dev", "validation", "valid", "eval"});
  data.test = find({"test"});
  if (data.train.empty())
    throw InputError("--data '" + path + "': expected a file, or a folder with train.tsv, .csv, .jsonl or .json");
  return data;
}

void add_precision(CLI::App& command, Precision& value) {
  command
      .add_option_function<std::string>(
          "--precision",
          [&value](const std::string& name) { value = name == "bf16" ? Precision::kBFloat16 : Precision::kFloat32; },
          "of the trunk: fp32 or bf16")
      ->check(CLI::IsMember({"fp32", "bf16"}));
}

void check_tokenizer(const Provenance& provenance, const ModelText& text, const std::string& adapter, const std::string& model) {
  if (provenance.tokenizer.empty() || text.tokenizer->digest() == provenance.tokenizer) return;
  throw InputError("'" + adapter + "': trained with another tokenizer than " + model +
                   " has; give the model folder it was trained with");
}

CLI::Validator above_zero() {
  return CLI::Validator(
      [](std::string& text) {
        double number = 0;
        return CLI::detail::lexical_cast(text, number) && number > 0 ? std::string() : "expected a number above 0, found " + text;
      },
      "above 0");
}

CLI::Validator not_negative() {
  return CLI::Validator(
      [](std::string& text) { return text.starts_with("-") ? "expected 0 or more, found " + text : std::string(); }, "0 or more");
}

void add_generation(CLI::App& command, GenerateOptions& options) {
  constexpr const char* kGroup = "Writing texts";
  SamplingOptions& sampling = options.sampling;
  options.max_new_tokens = kAsFits;
  command
      .add_option("--max-new-tokens", options.max_new_tokens,
                  "longest text to write (default: 128, or what the model's positions leave room for)")
      ->check(CLI::Range(1, 1 << 20))
      ->group(kGroup);
  command.add_option("--min-new-tokens", sampling.min_new_tokens, "no end before so many tokens")
      ->check(CLI::Range(0, 1 << 20))
      ->group(kGroup);
  command
      .add_option("--temperature", sampling.temperature,
                  "0 (default): always the most probable token; 1: as the model says; more: wilder")
      ->group(kGroup);
  command.add_option("--top-k", sampling.top_k, "draw from the k most probable tokens only")->group(kGroup);
  command.add_option("--top-p", sampling.top_p, "draw from the most probable tokens that reach this probability together")
      ->group(kGroup);
  command
      .add_option("--repetition-penalty", sampling.repetition_penalty, "above 1: tokens of the text so far become less probable")
      ->group(kGroup);
  command.add_option("--no-repeat-ngram", sampling.no_repeat_ngram, "no sequence of so many tokens twice")->group(kGroup);
  command.add_option("--seed", sampling.seed, "draws the tokens (default 0)")->check(not_negative())->group(kGroup);
  command.add_option("--beams", options.beams, "beam search over so many texts")->check(CLI::Range(1, 1 << 20))->group(kGroup);
  command.add_option("--length-penalty", options.length_penalty, "of beam search: above 0 favours long texts (default 1)")
      ->group(kGroup);
}

void add_threads(CLI::App& command, int64_t& value) {
  command.add_option("--threads", value, "threads for matrix products (default: all cores)")->check(CLI::Range(0, 1024));
}

void set_threads(int64_t threads) {
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
}

}  // namespace graft
