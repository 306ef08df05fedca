#include "study/plan_members.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "study/file_name.h"

namespace graft {

namespace {

constexpr size_t kMostMembers = 100'000;
constexpr const char* kMethod = "method";
constexpr const char* kTask = "task";

// What a key of `grid` is called among the settings of a run.
const std::map<std::string, std::string> kLongNames = {{"rows", "data.rows"}};

// Settings that a study says elsewhere.
const std::vector<std::pair<std::string, std::string>> kElsewhere = {
    {"model", "it stands at the top of the file"},
    {"out", "the folder of the study says it"},
    {"adapter", "methods: say it"},
    {"adapter_name", "methods: say it"},
    {"data.train", "tasks: say it"},
    {"data.eval", "tasks: say it"},
    {"data.test", "tasks: say it"},
    {"ignore_config_keys", "it stands at the top of the file"},
    {"lengthened_from", "graft writes it"}};

class Multiplier {
 public:
  explicit Multiplier(StudyParts parts) : parts_(std::move(parts)) {}

  std::vector<MemberDraft> members() {
    add_missing_axes();
    check_keys();
    multiply();
    return std::move(members_);
  }

 private:
  bool has_axis(const std::string& key) const {
    return std::any_of(parts_.axes.begin(), parts_.axes.end(), [&](const StudyAxis& axis) {
      return std::find(axis.keys.begin(), axis.keys.end(), key) != axis.keys.end();
    });
  }

  // Methods and tasks that no list chooses from are all taken, the methods first.
  void add_missing_axes() {
    std::vector<StudyAxis> first;
    const auto add = [&](const char* key, const auto& all) {
      if (has_axis(key)) return;
      std::vector<Node> names;
      for (const auto& each : all) names.push_back(Node::text(each.name));
      if (!names.empty()) first.push_back({{key}, {std::move(names)}});
    };
    add(kMethod, parts_.methods);
    add(kTask, parts_.tasks);
    parts_.axes.insert(parts_.axes.begin(), first.begin(), first.end());
  }

  template <class T>
  void check_names(const char* what, const std::vector<Node>& names, const std::vector<T>& all) {
    std::vector<std::string> known;
    for (const T& each : all) known.push_back(each.name);
    for (const Node& name : names) {
      if (std::find(known.begin(), known.end(), name.scalar) != known.end()) continue;
      parts_.tell(parts_.place_of(name),
                  std::string("unknown ") + what + " " + quote(shown_value(name)) +
                      did_you_mean(name.scalar, known) + "; there are " + joined(known));
    }
  }

  // Every setting of a member is given once, and none that stands elsewhere.
  void check_keys() {
    std::map<std::string, std::string> given;  // by all members, and its place
    const auto claim = [&](std::map<std::string, std::string>& seen, const std::string& key,
                           const std::string& place) {
      if (const std::string says = said_elsewhere(key); !says.empty())
        parts_.tell(place, quote(key) + " is no setting of a study: " + says);
      if (key == kTask || key == kMethod) {
        parts_.tell(place, quote(key) + " is no setting: list it in grid:");
        return;
      }
      const auto [found, is_new] = seen.emplace(key, place);
      if (!is_new && found->second != place)
        parts_.tell(place,
                    "the setting " + quote(key) + " is given at " + found->second + " already");
    };
    std::set<std::string> names;
    for (const StudyAxis& axis : parts_.axes) {
      for (size_t k = 0; k < axis.keys.size(); ++k) {
        const std::string& key = axis.keys[k];
        if (key == kMethod || key == kTask) {
          if (!names.insert(key).second)
            parts_.tell(parts_.place_of(axis.columns[k].front()), quote(key) + " is listed twice");
          if (key == kMethod) check_names("method", axis.columns[k], parts_.methods);
          else check_names("task", axis.columns[k], parts_.tasks);
          continue;
        }
        claim(given, long_name(key), parts_.place_of(axis.columns[k].front()));
      }
    }
    for (const StudySetting& setting : parts_.common) claim(given, setting.key, setting.place);
    std::map<std::string, std::string> of_tasks;
    for (const StudyTask& task : parts_.tasks) {
      auto seen = given;
      for (const StudySetting& setting : task.settings) {
        claim(seen, setting.key, setting.place);
        of_tasks.emplace(setting.key, setting.place);
      }
    }
    for (const StudyMethod& method : parts_.methods) {
      auto seen = given;
      seen.insert(of_tasks.begin(), of_tasks.end());
      for (const StudySetting& setting : method.settings) claim(seen, setting.key, setting.place);
    }
    if (parts_.faults.empty()) return;
    std::string message;
    for (const std::string& fault : parts_.faults) message += (message.empty() ? "" : "\n") + fault;
    throw InputError(message);
  }

  void multiply() {
    size_t count = 1;
    for (const StudyAxis& axis : parts_.axes) {
      count *= axis.size();
      if (count > kMostMembers)
        throw InputError(parts_.source + ": the lists multiply to more than " +
                         std::to_string(kMostMembers) + " members; shorten them");
    }
    std::set<std::string> folders;
    for (size_t index = 0; index < count; ++index) {
      MemberDraft member = member_at(index, count);
      const std::string folder = member.folder;  // names may differ in odd letters only
      for (size_t k = index + 1; !folders.insert(member.folder).second; ++k)
        member.folder = folder + "-" + std::to_string(k);
      members_.push_back(std::move(member));
    }
  }

  // The first axis moves slowest.
  MemberDraft member_at(size_t index, size_t count) {
    MemberDraft member;
    std::string method_name, task_name;
    for (const StudyAxis& axis : parts_.axes) {
      count /= axis.size();
      const size_t at = index / count % axis.size();
      for (size_t k = 0; k < axis.keys.size(); ++k) {
        const Node& value = axis.columns[k][at];
        const std::string &key = axis.keys[k], shown = shown_value(value);
        member.factors.emplace_back(key, shown);
        if (key == kMethod) method_name = shown;
        else if (key == kTask) task_name = shown;
        else
          member.settings.push_back({long_name(key), to_json(value, -1), parts_.place_of(value)});
      }
    }
    name_member(member);
    member.folder = folder_name(member.name);
    for (const StudyMethod& method : parts_.methods) {
      if (method.name == method_name) take(method, member);
    }
    for (const StudyTask& task : parts_.tasks) {
      if (task.name == task_name) take(task, member);
    }
    member.settings.insert(member.settings.end(), parts_.common.begin(), parts_.common.end());
    return member;
  }

  // Method and task come first, whatever moves faster.
  static void name_member(MemberDraft& member) {
    const auto rank = [](const auto& factor) {
      return factor.first == kMethod ? 0 : factor.first == kTask ? 1 : 2;
    };
    std::stable_sort(member.factors.begin(), member.factors.end(),
                     [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    member.name = factors_text(member.factors);
  }

  static void take(const StudyMethod& method, MemberDraft& member) {
    member.adapter = method.adapter;
    member.definition = method.definition;
    member.method_place = method.place;
    member.settings.insert(member.settings.end(), method.settings.begin(), method.settings.end());
  }

  static void take(const StudyTask& task, MemberDraft& member) {
    member.task = task.task;
    member.data = task.data;
    member.train = task.train;
    member.eval = task.eval;
    member.test = task.test;
    member.task_place = task.place;
    member.settings.insert(member.settings.end(), task.settings.begin(), task.settings.end());
  }

  static std::string folder_name(const std::string& name) {
    std::string out;
    for (const char c : name) {
      if (c == ',') out += '_';
      else if (c == ' ') out += out.empty() || out.back() == '_' ? "" : "-";
      else out += stands_in_name(c) ? c : '_';
    }
    return out.substr(0, kLongestName);
  }

  StudyParts parts_;
  std::vector<MemberDraft> members_;
};

}  // namespace

std::string StudyParts::place_of(const Node& node) const {
  return source + ":" + std::to_string(node.line) + ":" + std::to_string(node.column);
}

void StudyParts::tell(const std::string& place, const std::string& message) {
  faults.push_back(place + ": " + message);
}

std::string long_name(const std::string& key) {
  const auto found = kLongNames.find(key);
  return found == kLongNames.end() ? key : found->second;
}

bool is_seed_setting(const std::string& key) { return key == "seed" || key.starts_with("seeds."); }

std::string factors_text(const std::vector<std::pair<std::string, std::string>>& factors) {
  std::string out;
  for (const auto& [key, shown] : factors) {
    const bool is_name = key == kMethod || key == kTask;
    out += (out.empty() ? "" : ", ") + (is_name ? shown : key + " " + shown);
  }
  return out;
}

std::string said_elsewhere(const std::string& key) {
  for (const auto& [elsewhere, says] : kElsewhere) {
    if (key == elsewhere || key.starts_with(elsewhere + ".edits")) return says;
  }
  return "";
}

std::string shown_value(const Node& value) {
  if (value.kind == Node::Kind::kScalar) return value.scalar;
  return to_json(value, -1);
}

std::vector<MemberDraft> members_of(StudyParts parts) {
  return Multiplier(std::move(parts)).members();
}

}  // namespace graft
