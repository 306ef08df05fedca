#include "train/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/digest.h"
#include "base/error.h"
#include "base/options.h"
#include "base/version.h"
#include "base/wording.h"
#include "tensor/fingerprint.h"
#include "tensor/safetensors.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kVersion = 2, kOldestVersion = 1;  // 1: `complete` is empty
constexpr const char* kMarker = "complete";
constexpr std::string_view kStepPrefix = "step-";  // of folders
constexpr std::string_view kTensorPrefix = "tensor/", kOptimizerPrefix = "optimizer/";

constexpr double kWorstLoss = 1e300;

// What decides between equal values, as state.json holds it: without a loss it would not decide as
// before a resume.
double known_loss(double loss) { return std::isfinite(loss) ? loss : kWorstLoss; }

// All evaluations count but the one at the end of a run that was made longer since.
std::optional<double> usually_counted(const BestSoFar& best) {
  return best.step < 0 ? std::nullopt : std::optional(best.value);
}

Path checkpoints_of(const Path& run_dir) { return run_dir / "checkpoints"; }

// Folders step-N, by N, most steps first.
std::vector<std::pair<int64_t, Path>> step_folders(const Path& run_dir) {
  std::vector<std::pair<int64_t, Path>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(checkpoints_of(run_dir), error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kStepPrefix)) continue;
    if (const auto step = whole_number(std::string_view(name).substr(kStepPrefix.size())))
      found.emplace_back(*step, entry.path());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

Node to_node(const Checkpoint& c, const std::string& state) {
  Node inputs = Node::map();
  for (const auto& [what, digest] : c.inputs) inputs[what] = Node::text(digest);
  Node out = Node::map({{"version", Node::integer(kVersion)},
                        {"step", Node::integer(c.step)},
                        {"log_bytes", Node::integer(c.log_bytes)},
                        {"tokens", Node::integer(c.tokens)},
                        {"seconds", Node::number(c.seconds)},
                        {"config", Node::text(c.config)},
                        {"inputs", std::move(inputs)},
                        {"best_step", Node::integer(c.best.step)},
                        {"best_value", Node::number(c.best.value)},
                        {"best_loss", Node::number(known_loss(c.best.loss))},
                        {"stale", Node::integer(c.best.stale)},
                        {"state", Node::text(state)}});
  if (c.best.counted != usually_counted(c.best))
    out["counted_value"] = Node::number_or_null(c.best.counted);
  return out;
}

// Of every byte of the state: a damaged file must not be trained on.
std::string digest_of(const NamedTensors& state) {
  std::string text;
  for (const auto& [name, digest] : fingerprints(state)) text += name + " " + digest + "\n";
  return sha256(text);
}

// The bytes of state.json are those whose digest `complete` holds, and the step is the folder's.
void check_state(const std::string& text, int64_t version, int64_t step, int64_t folder_step,
                 const Path& dir) {
  const std::string marker = read_file(dir / kMarker), source = (dir / "state.json").string();
  if (version == kOldestVersion ? !marker.empty() : marker != sha256(text))
    throw InputError(source + ": the bytes are not those that were written");
  if (step != folder_step)
    throw InputError(source + ": expected step " + std::to_string(folder_step) +
                     ", as its folder is named, found " + std::to_string(step));
}

Checkpoint read_checkpoint(const Path& dir, int64_t folder_step) {
  const std::string source = (dir / "state.json").string(), text = read_file(source);
  const Node json = parse_json(text, source);
  Options options(json, source);
  constexpr int64_t kMost = INT64_MAX;
  const int64_t version = options.integer("version", std::nullopt, kOldestVersion, 1'000'000);
  check_version(version, kVersion, source);
  Checkpoint c;
  c.step = options.integer("step", std::nullopt, 0, kMost);
  c.log_bytes = options.integer("log_bytes", std::nullopt, 0, kMost);
  c.tokens = options.integer("tokens", std::nullopt, 0, kMost);
  c.seconds = options.number("seconds", std::nullopt, 0, 1e15);
  c.config = options.text("config", std::nullopt);
  if (const Node* inputs = options.raw("inputs");
      inputs != nullptr && inputs->kind == Node::Kind::kMap) {
    for (const auto& [what, digest] : inputs->members) c.inputs[what] = digest.scalar;
  } else {
    options.fault("inputs", "missing; expected the digests of what the run reads");
  }
  c.best.step = options.integer("best_step", std::nullopt, -1, kMost);
  c.best.value = options.number("best_value", std::nullopt, -1e300, 1e300);
  c.best.loss = options.number("best_loss", kWorstLoss, -kWorstLoss,
                               kWorstLoss);  // older checkpoints have none
  c.best.stale = options.integer("stale", std::nullopt, 0, kMost);
  c.best.counted = usually_counted(c.best);
  if (options.is_given("counted_value"))
    c.best.counted = options.number("counted_value", std::nullopt, -1e300, 1e300);
  else if (options.has("counted_value")) c.best.counted.reset();
  const std::string digest = options.text("state", std::nullopt);
  options.finish();
  check_state(text, version, c.step, folder_step, dir);
  const NamedTensors tensors = load_safetensors(dir / "state.safetensors").tensors;
  if (digest_of(tensors) != digest)
    throw InputError((dir / "state.safetensors").string() +
                     ": the bytes are not those that were written");
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(kTensorPrefix)) c.tensors[name.substr(kTensorPrefix.size())] = tensor;
    else if (name.starts_with(kOptimizerPrefix))
      c.optimizer[name.substr(kOptimizerPrefix.size())] = tensor;
    else
      throw InputError(dir.string() + ": tensor " + quote(name) +
                       " belongs to no part of a checkpoint");
  }
  return c;
}

// The marker goes first, so that a half-removed folder does not count.
void remove_checkpoint(const Path& dir) {
  std::error_code ignored;
  fs::remove(dir / kMarker, ignored);
  fs::remove_all(dir, ignored);
}

}  // namespace

bool BestSoFar::is_better_than(const BestSoFar& other) const {
  if (other.step < 0 || value != other.value) return other.step < 0 || value > other.value;
  return known_loss(loss) < known_loss(other.loss);
}

void BestSoFar::count(double value_of_it) {
  const bool is_improved = !counted || value_of_it > *counted;
  if (is_improved) counted = value_of_it;
  stale = is_improved ? 0 : stale + 1;
}

void save_checkpoint(const Path& run_dir, const Checkpoint& checkpoint) {
  const Path dir =
      checkpoints_of(run_dir) / (std::string(kStepPrefix) + std::to_string(checkpoint.step));
  std::error_code ignored;
  if (fs::exists(dir / kMarker))
    return;                      // written after this very step, before a signal asked for it again
  fs::remove_all(dir, ignored);  // what a killed try left
  make_directories(dir);
  NamedTensors all;
  for (const auto& [name, tensor] : checkpoint.tensors)
    all[std::string(kTensorPrefix) + name] = tensor.detach().contiguous();
  for (const auto& [name, tensor] : checkpoint.optimizer)
    all[std::string(kOptimizerPrefix) + name] = tensor.contiguous();
  save_safetensors(dir / "state.safetensors", all);
  const std::string state = to_json(to_node(checkpoint, digest_of(all)));
  write_file_atomically(dir / "state.json", state);
  write_file_atomically(dir / kMarker, sha256(state));
  sync_directory(checkpoints_of(run_dir));
  for (const auto& [step, old] : step_folders(run_dir)) {
    if (step < checkpoint.step) remove_checkpoint(old);
  }
}

void remove_checkpoints(const Path& run_dir) {
  for (const auto& [step, old] : step_folders(run_dir)) remove_checkpoint(old);
  std::error_code ignored;
  fs::remove_all(checkpoints_of(run_dir), ignored);
}

std::optional<Checkpoint> load_newest_checkpoint(const Path& run_dir) {
  for (const auto& [step, dir] : step_folders(run_dir)) {
    if (!fs::exists(dir / kMarker)) continue;
    try {
      return read_checkpoint(dir, step);
    } catch (const NewerVersion&) {
      throw;
    } catch (const InputError& error) {
      throw InputError(std::string(error.what()) + "\n  the checkpoint is damaged; remove " +
                       dir.string() + " to go on from an earlier one, or from the start");
    }
  }
  return std::nullopt;
}

}  // namespace graft
