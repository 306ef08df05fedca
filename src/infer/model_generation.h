// What a model folder says about writing texts: generation_config.json, as `transformers` 4.57 uses
// it in generate().
#pragma once

#include <string>
#include <vector>

#include "base/document.h"
#include "base/files.h"
#include "model/config.h"

namespace graft {

struct ModelGeneration {
  std::string source;              // the file, for messages
  Node settings = Node::map();     // by the names of generation_settings.h
  std::vector<std::string> other;  // keys of the file that have no meaning, neither here nor there

  // One line for the user about those of its settings that count; "" where none does and no key is
  // without a meaning.
  std::string note(const Node& counted) const;
};

// Of a folder: generation_config.json, or config.json where that is missing, or where it says that
// it was made of config.json and config.json has settings, too. A GGUF file has none. Throws
// InputError listing what is wrong, and every setting that would change texts and is not supported.
ModelGeneration read_model_generation(const Path& model, const ModelConfig& config);

}  // namespace graft
