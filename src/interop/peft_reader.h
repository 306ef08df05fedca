// Reads one folder of PEFT. Internal to src/interop.
//
// peft_import.cpp holds what every method shares, peft_import_head.cpp the head,
// peft_import_methods.cpp the fields and tensors of each method.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/options.h"
#include "interop/foreign.h"
#include "interop/peft_targets.h"
#include "model/families.h"

namespace graft {

class PeftReader {
 public:
  PeftReader(const Path& dir, const Model& model, const Node& json, std::string type);

  ForeignAdapter read();

 private:
  struct Group;  // layers of one rank and alpha

  // ---- the model around the adapter
  bool holds_any(const std::string& start) const;
  bool read_task_type();
  std::string prefix() const;
  void refuse_unknown();
  std::string key(const Modules::Layer& layer) const { return root_ + layer.path; }
  bool is_unread(const Modules::Layer& layer) const;
  bool has_sites(const Modules::Layer& layer) const;
  // True where both the config and the tensors change `layer`; a fault where they disagree.
  bool is_changed(const PeftTargets& targets, const Modules::Layer& layer,
                  const std::string& suffix);

  // ---- the head
  bool trains_pooler() const;  // or the head for masks, where the classifier reads that
  bool is_saved(const std::string& path) const;
  void read_modules_to_save();
  void read_head();
  void read_head_layer(const std::string& theirs, const std::string& ours);
  void read_mask_head();
  void take_own_layers(const std::vector<const Modules::Layer*>& layers);
  at::Tensor* changed_weight(const Modules::Layer& layer);
  void read_head_branch(const Modules::Layer& layer, int64_t rank, double alpha, bool is_dora);
  void read_head_scale(const Modules::Layer& layer, bool scales_input);
  void drop_wrappers();

  // ---- LoRA and DoRA
  void read_lora();
  void read_transposition();
  void read_enabled();
  std::vector<Site> sites_of(const Modules::Layer& layer) const;
  void put_by_outputs(const at::Tensor& tensor, const std::vector<Site>& sites,
                      const std::string& path, const std::string& suffix);
  void refuse_changed_base();
  // PEFT's layers_to_transform, where they are not the blocks of the model.
  void refuse_counted_sublayers();
  std::vector<Group> lora_groups(bool is_dora);
  void read_lora_layer(const std::string& path, const Modules::Layer& layer, int64_t rank,
                       bool is_dora);
  void read_enabled_parts(const std::string& path, const Modules::Layer& layer,
                          const std::vector<Site>& sites, int64_t rank);
  void read_biases(const std::string& which);

  // ---- (IA)^3
  struct SiteScale {
    Site site;
    at::Tensor scale;  // undefined where the folder's is at fault
  };
  void read_ia3();
  void read_input_scale(const Modules::Layer& layer, std::vector<SiteScale>& scales);
  void read_output_scales(const Modules::Layer& layer, std::vector<SiteScale>& scales);

  // ---- VeRA
  void read_vera();

  // ---- prefix, prompt, p-tuning
  void read_prompt();
  void read_prefix(int64_t length);

  const Model& model_;
  const Family& family_;
  Node json_;
  Options config_;
  ForeignTensors tensors_;
  std::string type_, root_;
  bool has_head_;
  Modules modules_;
  std::vector<std::string> saved_;  // modules_to_save that the model has
  std::set<std::string> adapted_;   // layers with a LoRA branch, which PEFT wraps
  std::vector<bool>
      enabled_;  // parts of joint layers that have a branch; empty: one branch over all of them
  std::vector<std::string> notes_;  // what was left out, for the origin
  ForeignAdapter foreign_;
};

}  // namespace graft
