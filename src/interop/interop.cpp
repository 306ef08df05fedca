#include "interop/interop.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/spelling.h"
#include "edit/lane_results.h"
#include "interop/adapterhub.h"
#include "interop/peft.h"
#include "interop/probes.h"
#include "interop/pyreft.h"

namespace graft {

namespace fs = std::filesystem;

namespace {

using at::Tensor;

// float32 rounding of two orders of the same sums is far below this on values of order one.
constexpr double kMostDifference = 1e-4;
constexpr int64_t kProbeSequences = 2;

struct Format {
  const char* name;
  const char* config;  // the file that marks such a folder
  ForeignAdapter (*read)(const Path&, const Model&, const ImportAnswers&);
  void (*write)(const Path&, const Adapter&, const NamedTensors&, const Model&);
  ImportAnswers (*answers)(const Adapter&);  // that reading back an exported folder needs
  bool asks_positions, asks_reft_kind;
};

ForeignAdapter read_peft_alone(const Path& dir, const Model& model, const ImportAnswers&) {
  return read_peft(dir, model);
}
ImportAnswers no_answers(const Adapter&) { return {}; }

constexpr Format kFormats[] = {
    {"peft", "adapter_config.json", read_peft_alone, write_peft, no_answers, false, false},
    {"adapterhub", "adapter_config.json", read_adapterhub, write_adapterhub, no_answers, false,
     true},
    {"pyreft", "config.json", read_pyreft, write_pyreft, pyreft_answers, true, false},
};

void check_answers(const Format& format, const ImportAnswers& answers) {
  const auto refuse = [&](const std::string& answer) {
    throw InputError(answer + ": folders of " + format.name + " do not need it; leave it out");
  };
  if (!format.asks_positions && !answers.positions.empty()) refuse(option_name("positions"));
  if (!format.asks_positions && answers.is_untied) refuse(option_name("untied"));
  if (!format.asks_positions && !answers.activation.empty()) refuse(option_name("activation"));
  if (!format.asks_reft_kind && !answers.reft_kind.empty()) refuse(option_name("reft_kind"));
}

const Format& format_named(const std::string& name) {
  for (const Format& format : kFormats) {
    if (name == format.name) return format;
  }
  throw InputError("unknown format " + quote(name) + did_you_mean(name, foreign_formats()) +
                   "; expected " + joined(foreign_formats(), "or"));
}

// The last hidden states of the first stack, and the logits where there is a head; of what answers
// in words the logits of all tokens.
std::vector<Tensor> computed(const Model& model, const Adapter& adapter,
                             const NamedTensors& tensors) {
  const at::NoGradGuard no_grad;
  const BoundAdapter bound(model, adapter, tensors);
  const std::vector<Sequence> probe =
      made_up_probes(model.config, kProbeSequences,
                     adapter.layout().virtual_rows + adapter.layout().first_position);
  if (model.config.has_decoder() && adapter.head() == nullptr) {
    std::vector<Tensor> logits;
    for (const Sequence& sequence : probe) logits.push_back(token_logits(model, bound, sequence));
    return logits;
  }
  LaneInput lane;
  for (const Sequence& sequence : probe) lane.sequences.push_back(&sequence);
  lane.layout = adapter.layout();
  const Pack pack = make_pack({lane}, {1, model.config.position_offset, model.config.pad_id});
  ForwardOptions options;
  options.keep_hidden = true;
  const LaneResult result = compute_logits(model, pack, {{&bound, {}}}, options).front();
  std::vector<Tensor> out;
  if (result.logits.defined()) out.push_back(result.logits);
  out.push_back(result.hidden.back());
  if (result.pooled.defined()) out.push_back(result.pooled);
  return out;
}

// Their forms have a head of the adapter's own, or answers in text.
void refuse_cloze(const Adapter& adapter) {
  if (!adapter.task() || adapter.task()->cloze() == nullptr) return;
  throw InputError("task " + quote(adapter.task()->name) +
                   " is a cloze, answered by the model's own head for masks, and no adapter of " +
                   "other software says so; graft merge writes a folder that transformers reads");
}

double largest_difference(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  ensure(a.size() == b.size(), "both adapters have a head, or neither");
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const Tensor scale = at::clamp_min(a[i].abs(), 1.0);
    most = std::max(most, ((a[i] - b[i]).abs() / scale).max().item<double>());
  }
  return most;
}

// Files that are there already may be read as parts of the adapter, whatever is written beside
// them.
void check_empty(const Path& dir) {
  std::error_code error;
  if (!fs::exists(dir, error)) return;
  if (fs::is_directory(dir, error) && fs::is_empty(dir, error)) return;
  throw InputError(option_name("out") + ": '" + dir.string() +
                   "' is there already and is no empty folder; choose a new one");
}

// All that is in the folder; the folder, too, where it is new.
void remove_written(const Path& dir, bool is_new) {
  std::error_code ignored;
  if (is_new) {
    fs::remove_all(dir, ignored);
    return;
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, ignored))
    fs::remove_all(entry.path(), ignored);
}

// What we wrote is no fault of the user's where it does not read back.
LoadedAdapter read_back(const std::string& format, const Path& dir, const LoadedAdapter& loaded,
                        const Model& model) {
  try {
    return import_adapter(format, dir, model, loaded.adapter.task(),
                          format_named(format).answers(loaded.adapter));
  } catch (const InputError& error) {
    throw InternalError("the folder that was written does not read back: " +
                        std::string(error.what()));
  }
}

}  // namespace

std::vector<std::string> foreign_formats() {
  std::vector<std::string> names;
  for (const Format& format : kFormats) names.emplace_back(format.name);
  return names;
}

LoadedAdapter import_adapter(const std::string& format, const Path& dir, const Model& model,
                             const std::optional<Task>& task, const ImportAnswers& answers) {
  const Format& known = format_named(format);
  check_answers(known, answers);
  if (std::error_code error; !fs::exists(dir / known.config, error)) {
    throw InputError("'" + dir.string() + "': holds no " + known.config +
                     ", so it is no adapter folder of " + format);
  }
  return assemble(known.read(dir, model, answers), model, task, dir);
}

ExportReport export_adapter(const std::string& format, const Path& dir, const LoadedAdapter& loaded,
                            const Model& model) {
  const Format& known = format_named(format);
  check_empty(dir);
  refuse_cloze(loaded.adapter);
  std::error_code error;
  const bool is_new = !fs::exists(dir, error);
  try {
    known.write(dir, loaded.adapter, loaded.tensors, model);
    const LoadedAdapter again = read_back(format, dir, loaded, model);
    const double difference = largest_difference(computed(model, loaded.adapter, loaded.tensors),
                                                 computed(model, again.adapter, again.tensors));
    if (!(difference <= kMostDifference))
      throw InternalError("the exported adapter computes something else: a difference of " +
                          std::to_string(difference));
    return {difference};
  } catch (...) {
    remove_written(dir, is_new);
    throw;
  }
}

}  // namespace graft
