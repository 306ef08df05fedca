// Writes one adapter in PEFT's words. Internal to src/interop.
//
// peft_export.cpp holds what every method shares and the head, peft_export_methods.cpp the fields
// and tensors of each method.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "interop/foreign.h"
#include "interop/modules.h"
#include "model/families.h"

namespace graft {

class PeftWriter {
 public:
  PeftWriter(const Adapter& adapter, const NamedTensors& tensors, const Model& model);

  // Throws InputError where PEFT has no form for a part of the adapter.
  void build();

  const Node& config() const { return config_; }
  const NamedTensors& tensors() const { return out_; }

 private:
  struct Part {
    std::string path;
    Node options;
    const EditSpec* spec;
  };
  struct Scale;   // rank and alpha of a layer
  struct Branch;  // of a layer that PEFT has as one with others

  // ---- what every method shares
  [[noreturn]] void refuse(const std::string& path, const std::string& why) const;
  // The one method of the adapter, after everything that PEFT has no form for is refused; fills
  // parts_ (biases apart).
  std::string method();
  void check_distinct_sites() const;
  const at::Tensor& stored(const std::string& name) const { return tensors_.at(name); }
  void put(const std::string& name, const at::Tensor& tensor) {
    out_[name] = tensor.detach().to(at::kFloat).contiguous().clone();
  }
  std::string key(const std::string& layer) const { return root_ + modules_.by_name(layer).path; }
  // A number that all parts share, or an error.
  double shared(const char* name, const std::string& theirs) const;
  // The shortest endings of `layers` by which PEFT chooses them and nothing else, or whole paths
  // where no endings do.
  std::vector<std::string> target_names(const std::vector<std::string>& layers) const;
  std::string shortest_ending(const std::string& path, const std::set<std::string>& wanted) const;

  // ---- LoRA and DoRA
  void write_lora(bool is_dora);
  void write_joint(const std::string& to, const std::vector<Branch>& branches, bool is_dora,
                   std::map<std::string, Scale>& scales);
  void write_scales(const std::map<std::string, Scale>& scales);
  void write_biases(const std::map<std::string, Scale>& adapted);

  // ---- (IA)^3
  void write_ia3();

  // ---- VeRA
  void write_vera();

  // ---- prefix and prompt
  void write_shape(int64_t length);
  void write_prefix();
  void write_prompt();

  // ---- the head
  bool trains_pooler() const {
    return adapter_.head() != nullptr && adapter_.head()->trains_pooler();
  }
  void write_head();

  const Adapter& adapter_;
  const NamedTensors& tensors_;
  const Model& model_;
  const Family& family_;
  std::string prefix_, root_, biases_;  // biases_: the path of a bitfit edit
  Modules modules_;
  std::vector<Part> parts_;
  Node config_;
  NamedTensors out_;
};

}  // namespace graft
