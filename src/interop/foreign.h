// The frame of every importer: what a foreign adapter folder holds, in Graft's words, and how it
// becomes an adapter.
//
// A format's reader goes through its config field by field (honoured, harmless, or refused by
// name), takes each tensor once, and fills a ForeignAdapter. `assemble` builds the adapter, and
// lets nothing pass that is missing, left over, misshapen or not finite. Nothing foreign is
// believed: all faults of a folder are listed at once.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "edit/adapter_file.h"
#include "edit/average.h"
#include "model/trunk.h"

namespace graft {

// Tensors of a foreign file. Each must be taken once; faults gather until `finish`.
class ForeignTensors {
 public:
  ForeignTensors(NamedTensors tensors, std::string source)
      : tensors_(std::move(tensors)), source_(std::move(source)) {}

  bool has(const std::string& name) const { return tensors_.contains(name); }
  const NamedTensors& all() const { return tensors_; }
  // In float32, row-major, a copy. A missing tensor or one of another shape is a fault and gives an
  // undefined tensor.
  at::Tensor take(const std::string& name, at::IntArrayRef shape);
  void drop(const std::string& name) { taken_.push_back(name); }  // known, and of no meaning here
  void fault(const std::string& message) { faults_.push_back(source_ + ": " + message); }
  // Throws InputError with `before` (the config's faults), the faults found here, and every tensor
  // that nobody took.
  void finish(const std::string& before);

  const std::string& source() const { return source_; }

 private:
  NamedTensors tensors_;
  std::string source_;
  std::vector<std::string> taken_, faults_;
};

struct ForeignAdapter {
  std::vector<Node> edits;  // of a definition, in order
  Node head = Node::map();
  NamedTensors tensors;           // by stored name: "0.lora/enc.0.attn.q.lora_a", "head/out.weight"
  int64_t head_outputs = 0;       // 0: the folder holds no head
  std::optional<Task> task = {};  // where the folder names its labels
  std::string origin;             // "peft 0.21.2 (LORA)", for the provenance

  // Appends an edit; returns the path of its tensors, "0.lora/".
  std::string add(const std::string& kind, Node options);
  // One that could not be taken, and is a fault already, is undefined and has no place.
  void put(const std::string& name, at::Tensor tensor);
  // A layer of the head, stored as `ours` ("head/out"), from `theirs` of the file. The last one has
  // as many outputs as the file's tensor has rows.
  void put_head_layer(const std::string& ours, const std::string& theirs, const ModelConfig& config,
                      ForeignTensors& file);
};

// `task`: what --task says; wins over the folder's own labels, and orders outputs that have the
// same names. Where neither says what several outputs mean, they are called LABEL_0, LABEL_1, ...
// `source`: the folder, for messages. Throws InputError naming every slot that is empty and every
// tensor that fits none; when the head has one output and no task, or a task is given and there is
// no head.
LoadedAdapter assemble(ForeignAdapter foreign, const Model& model, const std::optional<Task>& task,
                       const Path& source);

// `name`, or `bin` of the same stem where only that is there: safetensors, or a file of torch.save.
// Throws InputError when neither is there, or both.
ForeignTensors load_foreign_tensors(const Path& dir, const std::string& name,
                                    const std::string& bin);

// True for what a config writes where a field is not used: null, false, an empty list or map.
bool is_unused(const Node* node);

// LABEL_0, LABEL_1, ...: names that say nothing.
bool has_numbered_labels(const Task& task);

// Fields of a later version than those known here are let through while they are not used.
void ignore_unused(Options& options, const Node& json);

// Each of `keys` may only be unused; otherwise a fault with `reason`.
void refuse_fields(Options& options,
                   const std::vector<std::pair<const char*, const char*>>& keys_and_reasons);
void ignore_fields(Options& options, const std::vector<const char*>& keys);

// Edits of the adapter as they are stored: without what only served training (the network behind a
// prefix).
PlainAdapter flat_adapter(const Adapter& adapter, const NamedTensors& tensors, const Model& model);

// One option of those that an edit describes itself with, defaults filled in. Requires: an option
// of that name and type.
double number_in(const Node& options, const char* name);
int64_t integer_in(const Node& options, const char* name);
bool is_true(const Node& options, const char* name);
const std::string& word_in(const Node& options, const char* name);

// The tensors of the adapter's head, its layers renamed as (ours, theirs) says; others are left
// out. Requires: a head.
NamedTensors head_named(const Adapter& adapter, const NamedTensors& tensors,
                        const std::vector<std::pair<std::string, std::string>>& layers);

// "; one; two" of what was left out or changed: the end of an origin.
std::string notes_text(const std::vector<std::string>& notes);

// Text of every fault in `options`, or "": so that those of the tensors can be listed beside them.
std::string faults_of(Options& options);

}  // namespace graft
