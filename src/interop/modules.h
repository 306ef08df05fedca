// The names of a trunk's layers in the peers' own model classes, and which of them a config's
// patterns choose.
//
// Peers name modules by their path in a Hugging Face class:
// "bert.encoder.layer.3.attention.self.query" below a classifier, "encoder.layer.3..." in the bare
// class. Graft's layers are its sites of kind linear, and the tensors' names less ".weight".
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/families.h"
#include "model/trunk.h"

namespace graft {

// A regular expression as Python's `re` would match it, over module paths.
// Throws InputError "where: ..." for one that is not valid.
class ModulePattern {
 public:
  ModulePattern(const std::string& pattern, const std::string& where);
  ~ModulePattern();
  ModulePattern(ModulePattern&&) noexcept;
  // re.fullmatch. Throws InputError when the match needs too many steps.
  bool matches(const std::string& path) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

class Modules {
 public:
  struct Layer {
    std::string name;  // ours: "enc.3.attn.q"; a head's layers: "head/out"; empty for one that has
                       // no place here (a word table)
    std::string path;  // theirs
    bool is_linear = false;
    std::vector<std::string> pieces =
        {};  // instead of `name`: our layers that they have as one, in the order of its outputs
  };

  // `prefix`: what stands before the trunk's paths, "bert." or "". `has_head`: a classifier lies
  // beside the encoder.
  Modules(const Model& model, const std::string& prefix, bool has_head);

  const std::vector<Layer>& layers() const { return layers_; }
  const Layer& by_name(const std::string& name) const;  // Requires: known
  // Every path, of layers and of the modules around them: "bert", "bert.encoder",
  // "bert.encoder.layer.0", ...
  const std::vector<std::string>& paths() const { return paths_; }

 private:
  std::vector<Layer> layers_;
  std::vector<std::string> paths_;
};

// The module that a classifier's head is, beside the trunk: "classifier", "score",
// "classification_head".
std::string head_module(const Family& family);

// `path` is `name` or ends in ".name".
bool has_suffix(const std::string& path, const std::string& name);

}  // namespace graft
