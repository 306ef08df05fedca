// An adapter: an ordered list of edits and a task head, with their tensors. What is trained, saved,
// loaded and shipped.
//
// Tensors are stored under "<index>.<method>/<param>" for edits ("0.lora/enc.3.attn.q.lora_a") and
// "head/<param>" for the head.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/task.h"
#include "edit/edit.h"
#include "edit/head.h"
#include "edit/registry.h"

namespace graft {

// The tensors of an adapter, by the numbers of its edits and its head.
struct AdapterTensors {
  std::vector<TensorList> parts;
  TensorList head;
};

class Adapter {
 public:
  static constexpr const char* kHeadPath = "head/";

  // definition: {edits: [...], head: {...}}. `task` gives the head its outputs; without one there
  // is no head (a bare trunk's edits). Throws InputError listing every fault.
  Adapter(const Node& definition, const std::string& source, const EditTarget& target,
          const std::optional<Task>& task);

  // No edits: the trunk as it is, and for a task the head of its kind, untrained.
  static Adapter none(const EditTarget& target, const std::optional<Task>& task = std::nullopt);

  struct Part {
    std::string path;  // "0.lora/"
    std::unique_ptr<Edit> edit;
    std::vector<std::string> names;  // of its stored tensors, with the path

    const EditSpec& spec() const { return edit->spec(); }
    bool acts_at(const Site& site) const;
  };

  // Of edits that need not be in the registry, in this order, and a head with its default options.
  Adapter(EditList edits, const EditTarget& target, const std::optional<Task>& task);

  const std::vector<Part>& parts() const { return parts_; }
  const Head* head() const { return head_.get(); }
  const std::optional<Task>& task() const { return task_; }
  Node describe() const;  // {edits, head}, every default filled in

  std::vector<ParamSpec> params() const;  // names with their paths; of all parts, then of the head
  NamedTensors init(const Weights& weights, RandomKey key) const;  // float32 leaves, by stored name
  // Adds the tensors that no file holds (Role::kDrawn).
  void draw(NamedTensors& tensors, const Weights& weights) const;
  TensorList stored_of(size_t part, const NamedTensors& stored) const;
  AdapterTensors derive(const NamedTensors& stored, const Weights& weights,
                        Experts experts = Experts::kMerged) const;
  Traits traits() const;     // of all edits together
  RowLayout layout() const;  // rows that its edits need beside the tokens
  // Throws InputError for the first text that names a row of a subspace which some edit that acts
  // in one has not, or where there is no such edit.
  void check_subspaces(const std::vector<Example>& examples) const;
  Weights rewritten(const AdapterTensors& derived,
                    const Weights& weights) const;  // with the edits that rewrite in every step
  bool changes(const Site& site) const;             // some part acts at it
  // Some part changes what leaves a site, so that its change has a size. A prefix stands beside the
  // rows, and full fine-tuning and the like change weights.
  bool changes_rows() const;
  bool rewrites_trunk() const;  // some part replaces the trunk's tensors in every step

 private:
  void add_part(std::unique_ptr<Edit> edit);
  void check_rows(const std::string& source) const;
  void check_subspace_column(const std::string& source) const;
  void check_prompt_losses(const std::string& source) const;
  void check_claims(const std::string& source, const Part& a, const Part& b) const;
  void check_pooler(const std::string& source, const Site& pooler, bool has_head) const;
  void make_head(Options& options, const ModelConfig& config);

  std::vector<Part> parts_;
  std::unique_ptr<Head> head_;
  std::vector<std::string> head_names_;  // of its stored tensors
  std::optional<Task> task_;
};

}  // namespace graft
