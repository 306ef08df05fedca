#include "model/config.h"

#include <algorithm>

#include "base/error.h"
#include "base/options.h"
#include "model/config_keys.h"
#include "model/families.h"
#include "model/gguf_model.h"

namespace graft {

namespace {

// Whether the folder is of the class that puts a classifier on the family's trunk.
bool names_classifier(Options& options, const std::string& model_type) {
  const Node* classes = options.raw("architectures");
  if (classes == nullptr) return false;
  for (const Family& family : all_families()) {
    if (family.model_type != model_type) continue;
    const auto is_its_classifier = [&](const Node& name) {
      return name.kind == Node::Kind::kScalar && name.scalar == family.classifier_class;
    };
    if (std::any_of(classes->items.begin(), classes->items.end(), is_its_classifier)) return true;
  }
  return false;
}

}  // namespace

ModelConfig parse_config(const Node& json, const std::string& source, const IgnoredKeys& ignored) {
  Options options(json, source);
  ModelConfig config;
  config.model_type = options.choice("model_type", std::nullopt, known_families());
  if (const Node* type = options.raw("model_type");
      type == nullptr || type->scalar != config.model_type) {
    for (const std::string& key : options.unread())
      options.ignore(key);  // of a family that is not known here
    options.finish();
  }
  family_of(config.model_type).read_config(options, config);
  config.is_classifier = names_classifier(options, config.model_type);
  config.ignored_keys = check_unread_keys(options, config.model_type, ignored);
  options.finish();
  return config;
}

ModelConfig read_config(const Path& model, const IgnoredKeys& ignored) {
  if (is_gguf(model)) return read_gguf_config(model, ignored);
  const Path file = std::filesystem::is_directory(model) ? model / "config.json" : model;
  if (!std::filesystem::exists(file)) {
    throw InputError("'" + file.string() +
                     "': no such file; a model is a Hugging Face folder with config.json, "
                     "*.safetensors and a tokenizer, or a GGUF file");
  }
  if (file.extension() != ".json" && std::filesystem::is_regular_file(file)) {
    throw InputError("'" + file.string() +
                     "': expected a Hugging Face folder with config.json, *.safetensors and a "
                     "tokenizer, or a GGUF file; found another file");
  }
  return parse_config(parse_json(read_file(file), file.string()), file.string(), ignored);
}

}  // namespace graft
