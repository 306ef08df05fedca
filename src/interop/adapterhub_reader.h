// Reads one folder of AdapterHub. Internal to src/interop.
//
// adapterhub_import.cpp holds what every method shares, adapterhub_import_methods.cpp the fields
// and tensors of each, adapterhub_import_bottleneck.cpp those of bottlenecks.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/options.h"
#include "interop/adapterhub.h"

namespace graft {

class HubReader {
 public:
  HubReader(const Path& dir, const Model& model, const Node& json, const ImportAnswers& answers);

  ForeignAdapter read();

 private:
  // Where an edit's tensors are stored, and its gate's: the same for one that has none.
  struct Place {
    std::string own, gate;
  };
  struct Positions;  // of ReFT

  std::string prefix() const;

  // ---- what every method shares
  void read_config(Options& c);
  void refuse_all(Options& c, const std::string& why);
  void read_union(Options& c);
  std::vector<int64_t> kept_layers(Options& c);
  std::vector<Site> sites_at(const std::vector<int64_t>& layers,
                             const std::vector<std::string>& parts) const;
  Place add(const std::string& kind, Node options, bool is_gated, Node gate_options = Node::map());
  void put_gate(const Place& place, const std::string& site, const std::string& theirs,
                int64_t outputs, int64_t width);
  void note_training_only(Options& c,
                          const char* key);  // acts in training only: said in the origin
  std::string activation(Options& c, const char* fallback);

  // ---- bottlenecks
  std::map<int64_t, double> reductions(Options& c, const std::vector<int64_t>& layers);
  // Each width of a network with the layers that have it.
  std::map<int64_t, std::vector<int64_t>> layers_of_width(Options& c);
  void read_bottleneck(Options& c);
  void read_bottleneck_site(const Place& place, const Site& site, int64_t width,
                            const std::string& scaling, bool is_gated);

  // ---- LoRA and (IA)^3
  void read_lora(Options& c);
  void read_scales(Options& c, const std::vector<Site>& sites, int64_t rank, double alpha,
                   double dropout, bool is_gated);

  // ---- prefixes
  void read_prefix(Options& c);
  void drop_copies(const std::string& first);

  // ---- ReFT
  std::vector<int64_t> reft_layers(Options& c);
  bool subtracts(Options& c, bool is_rotation);
  void read_reft(Options& c);
  void read_reft_site(const std::string& ours, int64_t layer, const Positions& positions,
                      int64_t rank, bool is_rotation);

  Path dir_;
  const Model& model_;
  ImportAnswers answers_;
  Node json_;
  Options top_;
  ForeignTensors tensors_;
  std::string name_, version_;
  HubNames names_;
  std::vector<std::string> methods_, notes_;
  std::string inner_faults_;
  bool asked_for_kind_ = false;
  ForeignAdapter foreign_;
};

}  // namespace graft
