#include "session/presets.h"

#include <algorithm>

#include "base/error.h"
#include "base/options.h"
#include "base/spelling.h"
#include "data/task.h"

namespace graft {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPublished = ":published";

// The sections of a preset that say what is trained; the others say how.
constexpr const char* kDefinition[] = {"edits", "head"};

bool is_definition(const std::string& key) {
  return std::find(std::begin(kDefinition), std::end(kDefinition), key) != std::end(kDefinition);
}

// What the paper trains, and how, over Graft's own.
void put_published(const std::string& name, AdapterPreset& preset) {
  if (preset.published.kind != Node::Kind::kMap) {
    throw InputError(
        option_name("adapter") + " " + name + std::string(kPublished) + ": " + quote(name) +
        " has no published settings, which are a section 'published:' in its file; leave " +
        std::string(kPublished) + " out");
  }
  for (const auto& [key, value] : preset.published.members)
    (is_definition(key) ? preset.definition : preset.train)[key] = value;
}

}  // namespace

std::vector<std::string> preset_names(const Share& share) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(share.presets(), error)) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  if (error)
    throw IoError("cannot list the folder of presets '" + share.presets().string() +
                  "': " + error.message());
  std::sort(names.begin(), names.end());
  return names;
}

AdapterPreset load_preset(const std::string& given, const Share& share) {
  const bool is_published = given.ends_with(kPublished);
  const std::string name_or_path =
      is_published ? given.substr(0, given.size() - kPublished.size()) : given;
  Path path = name_or_path;
  const bool is_file = name_or_path.find('/') != std::string::npos || path.extension() == ".yaml" ||
                       path.extension() == ".yml";
  if (!is_file) {
    if (share.dir.empty())
      throw InputError("unknown adapter " + quote(name_or_path) + ": " + kGiveShare +
                       ", or a YAML file");
    path = share.presets() / (name_or_path + ".yaml");
    if (std::error_code error; !fs::exists(path, error)) {
      throw InputError("unknown adapter " + quote(name_or_path) +
                       did_you_mean(name_or_path, preset_names(share)) +
                       "; presets: " + joined(preset_names(share)) + "; or give a YAML file");
    }
  }
  if (fs::is_directory(path)) {
    throw InputError(
        option_name("adapter") + " '" + name_or_path +
        "': expected a preset or a YAML file that says what to train, found a folder; " +
        setting_text("start_from=FOLDER") + " begins with a trained adapter's values");
  }
  AdapterPreset preset = parse_preset(read_file(path), path.string());
  if (is_published) put_published(name_or_path, preset);
  return preset;
}

AdapterPreset parse_preset(std::string_view text, const std::string& source) {
  AdapterPreset preset;
  preset.source = source;
  const Node yaml = parse_yaml(text, source);
  if (yaml.kind == Node::Kind::kNull)
    throw InputError(source + ": expected 'edits:' with a list, found an empty file");
  Options options(yaml, source);
  preset.about = options.text("about", "");
  preset.definition = Node::map();
  for (const char* key : kDefinition) {
    if (const Node* node = options.raw(key)) preset.definition[key] = *node;
  }
  if (const Node* train = options.raw("train")) preset.train = *train;
  if (const Node* published = options.raw("published")) preset.published = *published;
  options.finish();
  return preset;
}

}  // namespace graft
