#include "study/runs.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/document.h"
#include "base/edit_paths.h"
#include "base/error.h"
#include "base/printable.h"
#include "study/harvest.h"

namespace graft {

namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kAdapter = "adapter";
constexpr const char* kUnset = "unset";

std::string value_of_setting(const Settings& run, const std::string& key) {
  for (const auto& [name, value] : run) {
    if (name == key) return value;
  }
  return kUnset;
}

// Every setting that is no section, with its path: {"data.rows", "100"}.
void flatten(const Node& node, const std::string& path, Settings& out) {
  if (node.kind == Node::Kind::kMap) {
    for (const auto& [key, value] : node.members)
      flatten(value, path.empty() ? key : path + "." + key, out);
    return;
  }
  const std::string text = node.kind == Node::Kind::kScalar ? node.scalar
                           : node.kind == Node::Kind::kNull ? kUnset
                                                            : to_json(node, -1);
  out.emplace_back(path, text);
}

// What a list of edits, or one of them, is: "gate of lora, bitfit".
std::string kinds_text(const Node& edits) {
  std::string kinds;
  for (const Node& edit : edits.items) kinds += (kinds.empty() ? "" : ", ") + kinds_text(edit);
  for (const auto& [name, value] : edits.members) {
    if (name != "of") kinds = name;
  }
  if (const Node* of = edits.find("of")) kinds += " of " + kinds_text(*of);
  return kinds;
}

// As settings of a study are spelled: {"adapter.rank", "4"} where one edit alone has the option,
// else {"adapter.0.lora.rank", "4"}.
void add_options(const Node& edits, Settings& out) {
  out.emplace_back("adapter.edits", kinds_text(edits));
  Settings all;
  for (const auto& [path, options] : edit_options(edits)) flatten(*options, path, all);
  const auto last = [](const std::string& path) { return path.substr(path.rfind('.') + 1); };
  std::map<std::string, int> counts;
  for (const auto& [path, value] : all) ++counts[last(path)];
  for (const auto& [path, value] : all)
    out.emplace_back("adapter." + (counts[last(path)] == 1 ? last(path) : path), value);
}

Settings settings_of(const Node& document) {
  Settings out;
  for (const auto& [key, value] : document.members) {
    if (key != kAdapter) flatten(value, key, out);
  }
  const Node* adapter = document.find(kAdapter);
  if (adapter == nullptr || adapter->kind != Node::Kind::kMap) return out;
  for (const auto& [key, value] : adapter->members) {
    if (key != "edits") flatten(value, key, out);
    else add_options(value, out);
  }
  // The run's is the head's, where that has none of its own.
  const std::string dropout = value_of_setting(out, "dropout");
  std::erase(out, std::pair<std::string, std::string>("head.dropout", dropout));
  return out;
}

// What the factors `method` and `task` tell, or no setting that makes a run another.
bool is_told_apart(const std::string& key) {
  return key == "out" || key == "task" || key == "adapter_name" || key == "lengthened_from";
}

bool is_of_adapter(const std::string& key) {
  return key.starts_with("adapter.") || key.starts_with("head.");
}

// Settings that not all runs have alike, in the order of run.yaml.
std::vector<std::string> differing_among(const std::vector<Settings>& runs) {
  std::vector<std::string> order;
  std::map<std::string, std::set<std::string>> values;
  std::map<std::string, size_t> counts;
  for (const Settings& run : runs) {
    for (const auto& [key, value] : run) {
      if (values[key].insert(value).second && values[key].size() == 1) order.push_back(key);
      ++counts[key];
    }
  }
  std::erase_if(order, [&](const std::string& key) {
    return is_told_apart(key) || (values[key].size() == 1 && counts[key] == runs.size());
  });
  return order;
}

// Of adapters the options in which runs of one method differ: those of two methods do anyway.
std::vector<std::string> differing_keys(const std::vector<Settings>& runs) {
  std::vector<std::string> keys = differing_among(runs);
  std::erase_if(keys, is_of_adapter);
  std::map<std::string, std::vector<Settings>> by_method;
  for (const Settings& run : runs) by_method[value_of_setting(run, "adapter_name")].push_back(run);
  for (const auto& [method, alike] : by_method) {
    for (const std::string& key : differing_among(alike)) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  return keys;
}

// By which the run was judged; "" where its adapter does not say.
std::string primary_metric(const Path& run) {
  const Path file = run / "adapter" / "adapter.json";
  if (!std::filesystem::exists(file)) return "";
  const Node adapter = parse_json(read_file(file), file.string());
  const Node* task = adapter.find("task");
  const Node* primary = task == nullptr ? nullptr : task->find("primary");
  return primary == nullptr ? "" : primary->scalar;
}

}  // namespace

StudyStore study_of_runs(const std::vector<Path>& folders) {
  std::vector<Settings> settings;
  StudyPlan plan{"runs", "", {}};
  std::vector<Node> documents;
  for (const Path& folder : folders) {
    const Path file = folder / "run.yaml";
    documents.push_back(parse_yaml(read_file(file), file.string()));
    settings.push_back(settings_of(documents.back()));
  }
  const std::vector<std::string> keys = differing_keys(settings);
  std::map<std::string, std::string> names;  // of members, and their folders
  for (size_t i = 0; i < folders.size(); ++i) {
    PlannedMember member;
    member.factors = {{"method", value_of_setting(settings[i], "adapter_name")},
                      {"task", value_of_setting(settings[i], "task")}};
    member.name = member.factors[0].second + ", " + member.factors[1].second;
    for (const std::string& key : keys) {
      member.factors.emplace_back(key, value_of_setting(settings[i], key));
      member.name += ", " + key + " " + member.factors.back().second;
    }
    const auto [first, is_new] = names.emplace(member.name, folders[i].string());
    std::error_code ignored;
    if (!is_new && std::filesystem::equivalent(folders[i], first->second, ignored))
      throw InputError(named(folders[i].string()) + ": is given twice; leave one out");
    if (!is_new)
      throw InputError("'" + folders[i].string() + "': is the same run as '" + first->second +
                       "' by all its settings: leave one out, or give it another adapter_name");
    member.settings = to_json(documents[i], -1);
    plan.members.push_back(std::move(member));
  }
  StudyStore store = StudyStore::in_memory(plan);
  for (size_t i = 0; i < folders.size(); ++i)
    store.finish(i, read_run_folder(folders[i], primary_metric(folders[i])));
  return store;
}

}  // namespace graft
