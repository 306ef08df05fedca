// Writes one adapter in AdapterHub's words. Internal to src/interop.
//
// adapterhub_export.cpp holds what every method shares, adapterhub_export_methods.cpp the fields
// and tensors of each.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "edit/positions.h"
#include "interop/adapterhub.h"

namespace graft {

class HubWriter {
 public:
  HubWriter(const Adapter& adapter, const NamedTensors& tensors, const Model& model);

  // Throws InputError where AdapterHub has no form for a part of the adapter.
  void build();

  Node config() const;
  const NamedTensors& tensors() const { return out_; }

 private:
  // An edit, and the gate around it where there is one.
  struct Part {
    std::string kind, own, gate;  // own, gate: before the names of their tensors
    Node options, gate_options;
    std::vector<Site> sites;
    bool is_gated() const { return gate_options.kind == Node::Kind::kMap; }
  };

  // ---- what every method shares
  static std::string method_of(const std::string& kind) { return kind == "affine" ? "lora" : kind; }
  [[noreturn]] static void refuse(const Part& part, const std::string& why);
  void fault(const std::string& path, const std::string& why);
  void add(const Adapter::Part& part);
  static std::string gate_fault(const Part& part);
  void put(const std::string& name, const at::Tensor& tensor) {
    out_[name] = tensor.detach().to(at::kFloat).contiguous();
  }
  const at::Tensor& stored(const std::string& name) const { return tensors_.at(name); }
  void put_gate(const Part& part, const Site& site, const std::string& theirs);
  struct ByName {
    bool operator()(graft::Part a, graft::Part b) const { return part_name(a) < part_name(b); }
  };
  using SiteParts =
      std::set<graft::Part, ByName>;  // in the order of their names, as lists in files have them
  // The parts that every layer of `sites` has; fills leave_out. Refuses layers that differ.
  SiteParts rectangle(const Part& part, const std::vector<Site>& sites, Node& config) const;

  // ---- bottlenecks
  void write_bottlenecks();
  static bool is_alike(const Part& a, const Part& b);
  void write_placement(const Part& part, const SiteParts& parts, Node& config) const;
  void write_factors(const std::map<int64_t, int64_t>& units, Node& config) const;
  void write_bottleneck_site(const Part& part, const Site& site);

  // ---- LoRA and (IA)^3
  Node linear_config(const Part& part, const char* what) const;
  void write_lora(const Part& part);
  void write_scales(const Part& part);

  // ---- prefixes
  void write_prefix(const Part& part);

  // ---- ReFT
  void check_reft(const Part& part, const PositionChoice& positions) const;
  void write_reft(const Part& part);
  void write_unit(const std::string& theirs, const std::string& ours, bool is_rotation,
                  bool subtracts);

  const NamedTensors& tensors_;
  const Model& model_;
  HubNames names_;
  std::vector<Part> parts_;
  std::string faults_;
  std::vector<Node> configs_;
  NamedTensors out_;
};

}  // namespace graft
