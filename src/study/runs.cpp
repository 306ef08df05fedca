#include "study/runs.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/document.h"
#include "base/error.h"
#include "study/harvest.h"

namespace graft {

namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

// Every setting that is no section, with its path: {"data.rows", "100"}.
void flatten(const Node& node, const std::string& path, Settings& out) {
  if (node.kind == Node::Kind::kMap) {
    for (const auto& [key, value] : node.members)
      flatten(value, path.empty() ? key : path + "." + key, out);
    return;
  }
  const std::string text = node.kind == Node::Kind::kScalar ? node.scalar
                           : node.kind == Node::Kind::kNull ? "unset"
                                                            : to_json(node, -1);
  out.emplace_back(path, text);
}

// What the factors `method` and `task` tell, or no setting that makes a run another.
bool is_told_apart(const std::string& key) {
  return key == "out" || key == "task" || key == "adapter_name" || key == "lengthened_from" ||
         key.starts_with("adapter.");
}

// Settings that not all runs have alike, in the order of run.yaml.
std::vector<std::string> differing_keys(const std::vector<Settings>& runs) {
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

std::string value_of_setting(const Settings& run, const std::string& key) {
  for (const auto& [name, value] : run) {
    if (name == key) return value;
  }
  return "unset";
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
    flatten(documents.back(), "", settings.emplace_back());
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
    if (!is_new)
      throw InputError("'" + folders[i].string() + "': is the same run as '" + first->second +
                       "' but for its adapter's options: give one of them another adapter_name");
    member.settings = to_json(documents[i], -1);
    plan.members.push_back(std::move(member));
  }
  StudyStore store = StudyStore::in_memory(plan);
  for (size_t i = 0; i < folders.size(); ++i)
    store.finish(i, read_run_folder(folders[i], primary_metric(folders[i])));
  return store;
}

}  // namespace graft
