#include "study/plan_file.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "base/error.h"
#include "base/options.h"
#include "study/search_file.h"

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

struct Method {
  std::string name, adapter, definition;
  std::vector<StudySetting> settings;
  std::string place;
};

struct StudyTask {
  std::string name, task, data, train, eval, test;
  std::vector<StudySetting> settings;
  std::string place;
};

// A list of the grid, or several that go in step: at each index a value of each.
struct Axis {
  std::vector<std::string> keys;           // as the file has them
  std::vector<std::vector<Node>> columns;  // of each key

  size_t size() const { return columns.front().size(); }
};

std::string long_name(const std::string& key) {
  const auto found = kLongNames.find(key);
  return found == kLongNames.end() ? key : found->second;
}

// "0.001" of a plain 1e-3: one spelling of a number.
std::string shown_value(const Node& value) {
  if (value.kind == Node::Kind::kScalar) return value.scalar;
  return to_json(value, -1);
}

// Numbers are equal as numbers.
bool is_same(const Node& a, const Node& b) {
  if (a == b) return true;
  if (a.kind != Node::Kind::kScalar || b.kind != Node::Kind::kScalar || a.is_string || b.is_string)
    return false;
  char *end_a = nullptr, *end_b = nullptr;
  const double x = std::strtod(a.scalar.c_str(), &end_a), y = std::strtod(b.scalar.c_str(), &end_b);
  return !a.scalar.empty() && !b.scalar.empty() && *end_a == '\0' && *end_b == '\0' && x == y;
}

class Reader {
 public:
  Reader(const std::string& text, const std::string& source)
      : source_(source), document_(parse_yaml(text, source)), options_(document_, source) {
    out_.source = source;
    out_.text = text;
  }

  StudyFile read() {
    out_.name = options_.text("study", std::nullopt);
    out_.model = options_.text("model", std::nullopt);
    out_.ignored_keys = options_.texts("ignore_config_keys", std::vector<std::string>{});
    read_methods();
    read_tasks();
    common_ = read_settings(options_, "set");
    read_grid();
    read_together();
    out_.search = read_search(options_);
    options_.finish();
    add_missing_axes();
    check_keys();
    options_.finish();
    multiply();
    return std::move(out_);
  }

 private:
  std::string place_of(const Node& node) const {
    return source_ + ":" + std::to_string(node.line) + ":" + std::to_string(node.column);
  }

  std::vector<StudySetting> read_settings(Options& options, const char* key) {
    std::vector<StudySetting> settings;
    const Node* map = options.raw(key);
    if (map == nullptr || map->kind == Node::Kind::kNull) return settings;
    if (map->kind != Node::Kind::kMap) {
      options.fault(key, "expected settings and values, such as {epochs: 10}");
      return settings;
    }
    for (const auto& [name, value] : map->members)
      settings.push_back({long_name(name), to_json(value, -1), place_of(value)});
    return settings;
  }

  // A section of names, each with what `read` makes of it.
  template <class Read>
  void read_named(const char* key, const char* example, const Read& read) {
    const Node* map = options_.raw(key);
    if (map == nullptr || map->kind != Node::Kind::kMap || map->members.empty()) {
      options_.fault(key, std::string("expected one or more names, such as ") + example);
      return;
    }
    Options& section = options_.section(key);
    for (const auto& [name, value] : map->members) read(section, name, value);
  }

  void read_methods() {
    read_named("methods", "{lora: lora}",
               [&](Options& section, const std::string& name, const Node& value) {
                 Method method{name, "", "", {}, place_of(value)};
                 if (value.kind == Node::Kind::kScalar || value.kind == Node::Kind::kNull) {
                   method.adapter = section.text(name, std::nullopt);
                 } else {
                   Options& own = section.section(name);
                   if (value.find("edits") != nullptr || value.find("head") != nullptr) {
                     Node definition = Node::map();
                     for (const char* part : {"edits", "head"}) {
                       if (const Node* node = own.raw(part)) definition[part] = *node;
                     }
                     method.definition = to_yaml(definition);
                     if (own.has("adapter"))
                       own.fault("adapter", "expected either adapter: or edits: and head:");
                   } else {
                     method.adapter = own.text("adapter", std::nullopt);
                   }
                   method.settings = read_settings(own, "set");
                 }
                 methods_.push_back(std::move(method));
               });
  }

  void read_tasks() {
    read_named("tasks", "{cola: {task: cola, data: glue/CoLA}}",
               [&](Options& section, const std::string& name, const Node& value) {
                 StudyTask task;
                 task.name = name;
                 task.place = place_of(value);
                 Options& own = section.section(name);
                 task.task = own.text("task", std::nullopt);
                 task.data = own.text("data", "");
                 task.train = own.text("train", "");
                 task.eval = own.text("eval", "");
                 task.test = own.text("test", "");
                 task.settings = read_settings(own, "set");
                 if (task.data.empty() == task.train.empty())
                   own.fault("", "expected data: with a folder or file, or train: with a file");
                 tasks_.push_back(std::move(task));
               });
  }

  std::vector<Node> read_list(Options& options, const std::string& key, const Node& value) {
    std::vector<Node> values = value.kind == Node::Kind::kList ? value.items : std::vector{value};
    if (values.empty()) options.fault(key, "expected one or more values, found an empty list");
    for (size_t i = 0; i < values.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (is_same(values[i], values[j])) {
          options.fault(key, "the value " + shown_value(values[i]) + " stands twice");
          break;
        }
      }
    }
    return values;
  }

  void read_grid() {
    if (!options_.is_given("grid")) return;
    Options& grid = options_.section("grid");
    const Node* map = options_.raw("grid");
    if (map->kind != Node::Kind::kMap) return;
    for (const auto& [key, value] : map->members) {
      grid.ignore(key);
      Axis axis{{key}, {read_list(grid, key, value)}};
      if (axis.size() > 0) axes_.push_back(std::move(axis));
    }
  }

  void read_together() {
    const Node* list = options_.raw("together");
    if (list == nullptr || list->kind == Node::Kind::kNull) return;
    if (list->kind != Node::Kind::kList || list->items.empty()) {
      options_.fault("together",
                     "expected a list of sections, such as "
                     "[{batch_size: [8, 32], learning_rate: [1e-3, 2e-3]}]");
      return;
    }
    for (const Node& item : list->items) read_in_step(item);
  }

  // Values may repeat in one list, not in all at once.
  void read_in_step(const Node& item) {
    if (item.kind != Node::Kind::kMap || item.members.empty())
      return tell(place_of(item), "/together: expected a section of lists");
    Axis axis;
    for (const auto& [key, value] : item.members) {
      axis.keys.push_back(key);
      axis.columns.push_back(value.kind == Node::Kind::kList ? value.items : std::vector{value});
      if (axis.columns.back().empty())
        return tell(place_of(value), "/together/" + key + ": found an empty list");
      if (axis.columns.back().size() == axis.size()) continue;
      return tell(place_of(value), "/together/" + key + ": expected " +
                                       std::to_string(axis.size()) + " values, as " +
                                       axis.keys.front() + " has, found " +
                                       std::to_string(axis.columns.back().size()));
    }
    for (size_t i = 0; i < axis.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        const auto is_double = [&](const std::vector<Node>& column) {
          return is_same(column[i], column[j]);
        };
        if (std::all_of(axis.columns.begin(), axis.columns.end(), is_double))
          tell(place_of(axis.columns.front()[i]), "/together: values " + std::to_string(j + 1) +
                                                      " and " + std::to_string(i + 1) +
                                                      " of every list are the same");
      }
    }
    axes_.push_back(std::move(axis));
  }

  // A fault at a place of its own, told with the others.
  void tell(const std::string& place, const std::string& message) {
    faults_.push_back(place + ": " + message);
  }

  bool has_axis(const std::string& key) const {
    return std::any_of(axes_.begin(), axes_.end(), [&](const Axis& axis) {
      return std::find(axis.keys.begin(), axis.keys.end(), key) != axis.keys.end();
    });
  }

  // Methods and tasks that no list chooses from are all taken, the methods first.
  void add_missing_axes() {
    std::vector<Axis> first;
    const auto add = [&](const char* key, const auto& all) {
      if (has_axis(key)) return;
      std::vector<Node> names;
      for (const auto& each : all) names.push_back(Node::text(each.name));
      if (!names.empty()) first.push_back({{key}, {std::move(names)}});
    };
    add(kMethod, methods_);
    add(kTask, tasks_);
    axes_.insert(axes_.begin(), first.begin(), first.end());
  }

  template <class T>
  void check_names(const char* what, const std::vector<Node>& names, const std::vector<T>& all) {
    std::vector<std::string> known;
    for (const T& each : all) known.push_back(each.name);
    for (const Node& name : names) {
      if (std::find(known.begin(), known.end(), name.scalar) != known.end()) continue;
      tell(place_of(name), std::string("unknown ") + what + " " + quote(shown_value(name)) +
                               did_you_mean(name.scalar, known) + "; there are " + joined(known));
    }
  }

  // Every setting of a member is given once, and none that stands elsewhere.
  void check_keys() {
    std::map<std::string, std::string> given;  // by all members, and its place
    const auto claim = [&](std::map<std::string, std::string>& seen, const std::string& key,
                           const std::string& place) {
      for (const auto& [elsewhere, says] : kElsewhere) {
        if (key == elsewhere || key.starts_with(elsewhere + ".edits"))
          tell(place, quote(key) + " is no setting of a study: " + says);
      }
      if (key == kTask || key == kMethod) {
        tell(place, quote(key) + " is no setting: list it in grid:");
        return;
      }
      const auto [found, is_new] = seen.emplace(key, place);
      if (!is_new && found->second != place)
        tell(place, "the setting " + quote(key) + " is given at " + found->second + " already");
    };
    std::set<std::string> names;
    for (const Axis& axis : axes_) {
      for (size_t k = 0; k < axis.keys.size(); ++k) {
        const std::string& key = axis.keys[k];
        if (key == kMethod || key == kTask) {
          if (!names.insert(key).second)
            tell(place_of(axis.columns[k].front()), quote(key) + " is listed twice");
          if (key == kMethod) check_names("method", axis.columns[k], methods_);
          else check_names("task", axis.columns[k], tasks_);
          continue;
        }
        claim(given, long_name(key), place_of(axis.columns[k].front()));
      }
    }
    for (const StudySetting& setting : common_) claim(given, setting.key, setting.place);
    std::map<std::string, std::string> of_tasks;
    for (const StudyTask& task : tasks_) {
      auto seen = given;
      for (const StudySetting& setting : task.settings) {
        claim(seen, setting.key, setting.place);
        of_tasks.emplace(setting.key, setting.place);
      }
    }
    for (const Method& method : methods_) {
      auto seen = given;
      seen.insert(of_tasks.begin(), of_tasks.end());
      for (const StudySetting& setting : method.settings) claim(seen, setting.key, setting.place);
    }
    if (faults_.empty()) return;
    std::string message;
    for (const std::string& fault : faults_) message += (message.empty() ? "" : "\n") + fault;
    throw InputError(message);
  }

  void multiply() {
    size_t count = 1;
    for (const Axis& axis : axes_) {
      count *= axis.size();
      if (count > kMostMembers)
        throw InputError(source_ + ": the lists multiply to more than " +
                         std::to_string(kMostMembers) + " members; shorten them");
    }
    std::set<std::string> folders;
    for (size_t index = 0; index < count; ++index) {
      MemberDraft member = member_at(index, count);
      const std::string folder = member.folder;  // names may differ in odd letters only
      for (size_t k = index + 1; !folders.insert(member.folder).second; ++k)
        member.folder = folder + "-" + std::to_string(k);
      out_.members.push_back(std::move(member));
    }
  }

  // The first axis moves slowest.
  MemberDraft member_at(size_t index, size_t count) {
    MemberDraft member;
    std::string method_name, task_name;
    for (const Axis& axis : axes_) {
      count /= axis.size();
      const size_t at = index / count % axis.size();
      for (size_t k = 0; k < axis.keys.size(); ++k) {
        const Node& value = axis.columns[k][at];
        const std::string &key = axis.keys[k], shown = shown_value(value);
        member.factors.emplace_back(key, shown);
        if (key == kMethod) method_name = shown;
        else if (key == kTask) task_name = shown;
        else member.settings.push_back({long_name(key), to_json(value, -1), place_of(value)});
      }
    }
    name_member(member);
    member.folder = folder_name(member.name);
    for (const Method& method : methods_) {
      if (method.name == method_name) take(method, member);
    }
    for (const StudyTask& task : tasks_) {
      if (task.name == task_name) take(task, member);
    }
    member.settings.insert(member.settings.end(), common_.begin(), common_.end());
    return member;
  }

  // Method and task come first, whatever moves faster.
  static void name_member(MemberDraft& member) {
    const auto rank = [](const auto& factor) {
      return factor.first == kMethod ? 0 : factor.first == kTask ? 1 : 2;
    };
    std::stable_sort(member.factors.begin(), member.factors.end(),
                     [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    for (const auto& [key, shown] : member.factors) {
      const bool is_name = key == kMethod || key == kTask;
      member.name += (member.name.empty() ? "" : ", ") + (is_name ? shown : key + " " + shown);
    }
  }

  static void take(const Method& method, MemberDraft& member) {
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
      const bool is_plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' ||
                            c == '-' || c == '_' || c == '+';
      if (c == ',') out += '_';
      else if (c == ' ') out += out.empty() || out.back() == '_' ? "" : "-";
      else out += is_plain ? c : '_';
    }
    return out.substr(0, 150);  // file systems end at 255 bytes
  }

  std::string source_;
  Node document_;
  Options options_;
  StudyFile out_;
  std::vector<Method> methods_;
  std::vector<StudyTask> tasks_;
  std::vector<StudySetting> common_;
  std::vector<Axis> axes_;
  std::vector<std::string> faults_;
};

}  // namespace

StudyFile parse_study(const std::string& text, const std::string& source) {
  return Reader(text, source).read();
}

StudyFile read_study(const Path& path) { return parse_study(read_file(path), path.string()); }

}  // namespace graft
