#include "study/exports.h"

#include <sys/utsname.h>

#include <algorithm>
#include <ctime>
#include <set>

#include "base/document.h"
#include "base/error.h"
#include "base/version.h"
#include "study/event_file.h"
#include "study/file_name.h"

namespace graft {

std::string file_name(const std::string& name, std::set<std::string>& taken) {
  std::string out;
  for (const char c : name) out += stands_in_name(c) ? c : '_';
  out = out.substr(0, kLongestName);
  if (out.empty() || out.front() == '.') out = "_" + out;  // neither hidden nor another folder
  std::string own = out;
  for (size_t k = 2; !taken.insert(own).second; ++k) own = out + "-" + std::to_string(k);
  return own;
}

namespace {

template <class Take>
void for_each_done(const StudyStore& store, const Take& take) {
  const std::vector<MemberStatus> statuses = store.statuses();
  for (size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].state == MemberState::kDone) take(store.plan().members[i], store.result(i));
  }
}

Node whole(const std::optional<double>& number) {
  return Node::integer(static_cast<int64_t>(number.value_or(0)));
}

std::optional<double> score_in(const MemberResult& result, const std::string& side,
                               const std::vector<std::string>& metrics) {
  for (const FinalScore& score : result.scores) {
    const bool is_asked = std::find(metrics.begin(), metrics.end(), score.metric) != metrics.end();
    if (score.side == side && is_asked && score.value) return score.value;
  }
  return std::nullopt;
}

double accuracy_of(const PlannedMember& member, const MemberResult& result) {
  for (const char* side : {"test", "eval"}) {
    if (const auto score = score_in(result, side, {"accuracy", "exact_match"})) return *score;
  }
  throw InputError("member " + quote(member.name) +
                   ": PEFT's comparison is one of accuracies, and it has none; give its task the "
                   "metric accuracy or exact_match");
}

// What the first edit is called there. Its reader takes what has no configuration for full
// fine-tuning, so that a head alone has one.
Node peft_config(const Node& settings) {
  const Node* adapter = settings.find("adapter");
  const Node* edits = adapter == nullptr ? nullptr : adapter->find("edits");
  const bool has_edits = edits != nullptr && !edits->items.empty();
  if (adapter == nullptr || (has_edits && edits->items.front().members.empty()))
    return Node::null();
  std::string kind = has_edits ? edits->items.front().members.front().first : "head";
  if (kind == "full") return Node::null();
  if (kind == "prefix") kind = "prefix_tuning";
  if (kind == "prompt") kind = "prompt_tuning";
  std::transform(kind.begin(), kind.end(), kind.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return Node::map({{"peft_type", Node::text(kind)},
                    {"inference_mode", Node::boolean(false)},
                    {"graft", *adapter}});
}

Node run_info(const PlannedMember& member, const MemberResult& result, const Node& settings,
              const std::string& experiment, const std::string& now) {
  const auto setting = [&](const char* name) {
    const Node* found = settings.find(name);
    return found == nullptr ? Node::null() : *found;
  };
  Node train = settings;
  train["model_id"] = setting("model");
  train["dtype"] = Node::text(setting("precision").scalar == "bf16" ? "bfloat16" : "float32");
  train["max_seq_length"] = setting("max_length");
  Node factors = Node::map();
  for (const auto& [name, value] : member.factors) factors[name] = Node::text(value);
  train["factors"] = std::move(factors);
  return Node::map(
      {{"created_at", Node::text(now)},
       {"total_time", Node::number(find_number(result.readings, "seconds").value_or(0))},
       {"experiment_name", Node::text(experiment)},
       {"peft_branch", Node::text("graft")},
       {"train_config", std::move(train)},
       {"peft_config", peft_config(settings)},
       {"error_msg", Node::text("")}});
}

// What the last record of a run says.
Node last_metrics(const PlannedMember& member, const MemberResult& result, const Node& settings) {
  const auto fact = [&](const char* name) { return find_number(result.facts, name); };
  const auto rows_a_step = [&](const char* name) { return settings.find_number(name).value_or(1); };
  Node out =
      Node::map({{"step", whole(fact("steps"))},
                 {"test accuracy", Node::number(accuracy_of(member, result))},
                 {"train loss", Node::number(fact("loss_last").value_or(0))},
                 {"train samples", whole(fact("steps").value_or(0) * rows_a_step("batch_size") *
                                         rows_a_step("accumulate"))},
                 {"train total tokens", whole(fact("tokens"))}});
  if (const auto forgetting = score_in(result, "plain", {"forgetting"}))
    out["forgetting"] = Node::number(*forgetting);
  return out;
}

// The evaluations of a run, as far as its reader asks for them.
std::vector<Node> metrics_of(const PlannedMember& member, const MemberResult& result,
                             const Node& settings) {
  std::vector<Node> out;
  for (const CurvePoint& point : result.curve) {
    const bool is_accuracy = point.metric == "accuracy" || point.metric == "exact_match";
    if (point.side == "eval" && is_accuracy && point.value)
      out.push_back(Node::map(
          {{"step", Node::integer(point.step)}, {"valid accuracy", Node::number(*point.value)}}));
  }
  out.push_back(last_metrics(member, result, settings));
  return out;
}

Node train_info(const PlannedMember& member, const MemberResult& result, const Node& settings) {
  const Node bytes = whole(find_number(result.readings, "peak_bytes"));
  const double parameters = find_number(result.facts, "edit_parameters").value_or(0) +
                            find_number(result.facts, "head_parameters").value_or(0);
  return Node::map(
      {{"accelerator_memory_reserved_avg", bytes},
       {"accelerator_memory_max", bytes},
       {"accelerator_memory_reserved_99th", bytes},
       {"train_time", Node::number(find_number(result.readings, "seconds").value_or(0))},
       {"file_size", whole(find_number(result.facts, "adapter_bytes"))},
       {"num_trainable_params", whole(parameters)},
       {"num_total_params", Node::null()},
       {"status", Node::text("success")},
       {"metrics", Node::list(metrics_of(member, result, settings))}});
}

Node meta_info() {
  Node packages = Node::map({{"graft-version", Node::text(kVersionText)}});
  for (const char* name : {"transformers", "peft", "datasets", "bitsandbytes", "torch"}) {
    packages[std::string(name) + "-version"] = Node::null();
    packages[std::string(name) + "-commit-hash"] = Node::null();
  }
  utsname machine = {};
  ::uname(&machine);
  return Node::map({{"model_info", Node::null()},
                    {"dataset_info", Node::map()},
                    {"package_info", std::move(packages)},
                    {"system_info", Node::map({{"system", Node::text(machine.sysname)},
                                               {"release", Node::text(machine.release)},
                                               {"version", Node::text(machine.version)},
                                               {"machine", Node::text(machine.machine)},
                                               {"processor", Node::text(machine.machine)},
                                               {"accelerator", Node::text("cpu")}})},
                    {"pytorch_info", Node::text("")}});
}

std::string time_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", &parts);
  return text;
}

}  // namespace

void write_event_files(const StudyStore& store, const Path& dir) {
  std::set<std::string> taken;
  for_each_done(store, [&](const PlannedMember& member, const MemberResult& result) {
    std::string bytes = record_bytes(version_event(0));
    for (const CurvePoint& point : result.curve) {
      if (!point.value) continue;
      bytes += record_bytes(scalar_event(point.side + "/" + point.metric, point.step, *point.value,
                                         static_cast<double>(point.step)));
    }
    const Path folder = dir / file_name(member.name, taken);
    make_directories(folder);
    write_file_atomically(folder / "events.out.tfevents.0.graft", bytes);
  });
}

void write_peft_results(const StudyStore& store, const Path& dir) {
  std::set<std::string> taken;
  make_directories(dir);
  const std::string now = time_now();
  for_each_done(store, [&](const PlannedMember& member, const MemberResult& result) {
    const std::string* method = member.factor("method");
    const std::string experiment = (method == nullptr ? "graft" : *method) + "/" + member.name;
    const Node settings = parse_json(member.settings, "member " + quote(member.name));
    const Node node = Node::map({{"run_info", run_info(member, result, settings, experiment, now)},
                                 {"train_info", train_info(member, result, settings)},
                                 {"meta_info", meta_info()}});
    const std::string name = (method == nullptr ? "graft" : *method) + "--" + member.name;
    write_file_atomically(dir / (file_name(name, taken) + ".json"), to_json(node));
  });
}

}  // namespace graft
