#include "session/run_request.h"

#include <filesystem>

#include "base/error.h"
#include "base/spelling.h"
#include "data/task.h"
#include "edit/adapter.h"
#include "edit/adapter_file.h"
#include "session/presets.h"
#include "session/settings.h"

namespace graft {

namespace fs = std::filesystem;

namespace {

using Note = std::function<void(const std::string& line)>;

// The adapter folder that settings or the file begin with; "" for none.
std::string start_of(const Node& document, const RunRequest& request) {
  constexpr std::string_view kKey = "start_from=";
  for (auto setting = request.settings.rbegin(); setting != request.settings.rend(); ++setting) {
    if (setting->starts_with(kKey)) return setting->substr(kKey.size());
  }
  const Node* own = document.find("start_from");
  return own != nullptr && own->kind == Node::Kind::kScalar ? own->scalar : "";
}

// run.yaml's `adapter:` is a preset's name, a file, or the definition itself; without any, that of
// the adapter in start_from.
AdapterPreset preset_of(const Node& document, const RunRequest& request, const Share& share) {
  if (!request.adapter.empty()) return load_preset(request.adapter, share);
  if (!request.definition.empty()) return parse_preset(request.definition, "definition");
  const Node* own = document.find("adapter");
  if (own == nullptr) {
    if (const std::string start = start_of(document, request); !start.empty())
      return {read_adapter_header(start).definition, {}, {}, "", start};
    throw InputError("no adapter: give " + option_name("adapter") + " with a preset (" +
                     (share.dir.empty() ? kGiveShare : joined(preset_names(share))) +
                     ") or a YAML file, or " + setting_text("start_from=FOLDER") +
                     " with a trained one");
  }
  if (own->kind == Node::Kind::kScalar) return load_preset(own->scalar, share);
  if (own->kind == Node::Kind::kMap) return {*own, {}, {}, "", request.file};
  throw InputError(
      request.file + ":" + std::to_string(own->line) + ":" + std::to_string(own->column) +
      ": /adapter: expected a preset's name, a YAML file, or a section with edits: and "
      "head:, found " +
      (own->kind == Node::Kind::kList ? "a list; put it below edits:" : "nothing"));
}

// document[key] as a map, made if missing.
Node& section_of(Node& document, const char* key, const std::string& source) {
  Node& node = document[key];
  if (node.kind != Node::Kind::kMap && node.kind != Node::Kind::kNull) {
    throw InputError(source + ": /" + key + ": expected a section of keys and values, such as " +
                     key + ": {train: rows.tsv}");
  }
  return node;
}

Node read_run_file(const std::string& file) {
  Node document = parse_yaml(read_file(file), file);
  if (document.kind == Node::Kind::kNull) return Node::map();
  if (document.kind != Node::Kind::kMap) {
    throw InputError(file + ": expected keys and values such as 'model: PATH', found " +
                     (document.kind == Node::Kind::kList ? "a list" : quote(document.scalar)));
  }
  return document;
}

// The settings of a file win over those that another adapter than the file's suggests.
void tell_what_stays(const Node& document, const AdapterPreset& preset, const RunRequest& request,
                     const Note& note) {
  if (!note || request.file.empty() || request.adapter.empty() ||
      document.find("adapter") == nullptr)
    return;
  std::vector<std::string> kept;
  for (const auto& [key, value] : preset.train.members) {
    if (document.find(key) != nullptr) kept.push_back(key);
  }
  if (!kept.empty())
    note("the settings in '" + request.file + "' stay; of those that '" + request.adapter +
         "' suggests give way: " + joined(kept));
}

// The model of a document that is not checked yet.
ModelConfig read_model_config(const Node& document, const std::string& source) {
  const Node* model = document.find("model");
  if (model == nullptr)
    throw InputError("model: missing; give " + option_name("model") +
                     " with a folder that holds config.json, *.safetensors and a tokenizer, or "
                     "with a GGUF file");
  if (model->kind != Node::Kind::kScalar)
    throw InputError(source + ": /model: expected the path of a folder or GGUF file");
  IgnoredKeys ignored;
  if (const Node* keys = document.find("ignore_config_keys")) {
    for (const Node& key :
         keys->kind == Node::Kind::kScalar ? std::vector<Node>{*keys} : keys->items)
      ignored.named.push_back(key.scalar);
  }
  return read_config(model->scalar, ignored);
}

// Whether the task is answered by a head, as far as the document says.
bool is_answered_by_head(const Node& document, const Share& share) {
  const Node* task = document.find("task");
  return task != nullptr && task->kind == Node::Kind::kScalar &&
         !load_task(task->scalar, share.tasks()).is_answered_in_words();
}

// What the request itself names, over the document of its file.
void put_request(const RunRequest& request, const std::string& source, Node& document) {
  const auto put = [&](const char* key, const std::string& value) {
    if (!value.empty()) document[key] = Node::text(value);
  };
  put("model", request.model);
  put("task", request.task);
  put("out", request.out);
  if (!request.ignored_keys.empty())
    document["ignore_config_keys"] = Node::texts(request.ignored_keys);
  DataConfig data = request.data.empty() ? DataConfig{} : find_data(request.data);
  if (!request.eval.empty()) data.eval = request.eval;
  if (!request.test.empty()) data.test = request.test;
  put_data(data, document, source);
  if (request.ignores_model_generation)
    section_of(document, "generation", source)["model_defaults"] = Node::boolean(false);
}

// Written out with every default, so that the run does not depend on them; `dropout` of the run
// covers trunk and head.
void complete_definition(const Node& document, const EditTarget& target, AdapterPreset& preset) {
  if (const Node* edits = preset.definition.find("edits")) {
    preset.definition["edits"] =
        Adapter(Node::map({{"edits", *edits}}), preset.source, target, std::nullopt)
            .describe()["edits"];
  }
  const Node* dropout = document.find("dropout");
  if (dropout == nullptr) dropout = preset.train.find("dropout");
  if (dropout == nullptr || dropout->kind != Node::Kind::kScalar) return;
  Node& head = section_of(preset.definition, "head", preset.source);
  if (head.find("dropout") == nullptr) head["dropout"] = *dropout;
}

}  // namespace

void put_data(const DataConfig& data, Node& document, const std::string& source) {
  for (const auto& [key, path] : {std::pair{"train", &data.train}, std::pair{"eval", &data.eval},
                                  std::pair{"test", &data.test}}) {
    if (!path->empty()) section_of(document, "data", source)[key] = Node::text(*path);
  }
}

DataConfig find_data(const std::string& path) {
  std::error_code error;
  const bool exists = fs::exists(path, error);
  const std::string name = option_name("data");
  if (error) throw IoError("cannot read " + name + " '" + path + "': " + error.message());
  if (path == "-")
    throw InputError(name +
                     " -: training reads its rows again when it goes on after a stop; give a file "
                     "or a folder");
  if (!exists) throw InputError(name + " '" + path + "': no such file or folder");
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
        name + " '" + path +
        "': expected a file, or a folder with train.tsv, .csv, .jsonl or .json, also packed (.gz)");
  return data;
}

RunConfig resolve_document(Node document, AdapterPreset preset,
                           const std::vector<std::string>& settings, const EditTarget& target,
                           const std::string& source, const Note& note) {
  for (const std::string& line :
       apply_settings(settings, target, preset.source, preset.definition, document)) {
    if (note) note("note: " + line);
  }
  complete_definition(document, target, preset);
  document["adapter"] = preset.definition;
  return parse_run_config(document, preset.train, source);
}

RunConfig resolve_run(const RunRequest& request, const Share& share, const Note& note) {
  const std::string source = request.file.empty() ? request.source : request.file;
  Node document = request.file.empty() ? Node::map() : read_run_file(request.file);
  put_request(request, source, document);
  AdapterPreset preset = preset_of(document, request, share);
  tell_what_stays(document, preset, request, note);
  const bool is_named =
      request.adapter.empty() && request.definition.empty() &&
      document.find("adapter_name") != nullptr;  // a resolved run.yaml says what it was
  if (!is_named)
    document["adapter_name"] =
        Node::text(request.adapter.empty() ? preset.source : request.adapter);
  const ModelConfig config = read_model_config(document, source);
  const Sites sites(config);
  const EditTarget target{config, sites, is_answered_by_head(document, share)};
  return resolve_document(std::move(document), std::move(preset), request.settings, target, source,
                          note);
}

RunConfig read_run(const Path& dir) {
  const Path file = dir / "run.yaml";
  if (!fs::exists(file))
    throw InputError(option_name("resume") + " '" + dir.string() +
                     "': there is no run.yaml, so no run to go on with");
  RunConfig config =
      parse_run_config(parse_yaml(read_file(file), file.string()), Node::null(), file.string());
  config.out = dir.string();
  return config;
}

void check_paths(const RunConfig& config) {
  const DataConfig& data = config.data;
  std::vector<std::pair<std::string, std::string>> paths = {{"/model", config.model},
                                                            {"/data/train", data.train},
                                                            {"/data/eval", data.eval},
                                                            {"/data/test", data.test},
                                                            {"/data/forgetting", data.forgetting}};
  const auto add_task = [&](const std::string& key, const std::string& task) {
    if (is_task_file(task)) paths.emplace_back(key, task);
  };
  const auto add_sets = [&](const std::string& key, const auto& sets) {
    for (size_t i = 0; i < sets.size(); ++i) {
      const std::string place = key + "/" + std::to_string(i);
      add_task(place + "/task", sets[i].task);
      paths.emplace_back(place + "/data", sets[i].data);
    }
  };
  add_task("/task", config.task);
  add_sets("/data/mixture", data.mixture);
  add_sets("/data/eval_tasks", data.eval_tasks);
  const std::string file = (Path(config.out) / "run.yaml").string();
  std::string faults;
  for (const auto& [key, path] : paths) {
    std::error_code error;
    if (path.empty() || Path(path).is_absolute() || fs::exists(path, error)) continue;
    faults += file + ": " + key + ": '" + path + "': no such file or folder\n";
  }
  if (!faults.empty())
    throw InputError(faults +
                     "paths of a run are relative to the folder in which its training "
                     "began: go on from there");
}

}  // namespace graft
