#include "study/plan_file.h"

#include <algorithm>

#include "base/options.h"
#include "study/plan_members.h"
#include "study/search_file.h"

namespace graft {

namespace {

// Numbers are equal as numbers.
bool is_same(const Node& a, const Node& b) {
  if (a == b) return true;
  const std::optional<double> number = a.as_number();
  return number && number == b.as_number();
}

class Reader {
 public:
  Reader(const std::string& text, const std::string& source)
      : document_(parse_yaml(text, source)), options_(document_, source) {
    parts_.source = out_.source = source;
    out_.text = text;
  }

  StudyFile read() {
    out_.name = options_.text("study", std::nullopt);
    out_.model = options_.text("model", std::nullopt);
    if (const Node* model = document_.find("model")) out_.model_place = parts_.place_of(*model);
    out_.ignored_keys = options_.texts("ignore_config_keys", std::vector<std::string>{});
    read_methods();
    read_tasks();
    parts_.common = read_settings(options_, "set");
    read_grid();
    read_together();
    out_.search = read_search(options_);
    options_.finish();
    out_.members = members_of(std::move(parts_));
    return std::move(out_);
  }

 private:
  std::vector<StudySetting> read_settings(Options& options, const char* key) {
    std::vector<StudySetting> settings;
    const Node* map = options.raw(key);
    if (map == nullptr || map->kind == Node::Kind::kNull) return settings;
    if (map->kind != Node::Kind::kMap) {
      options.fault(key, "expected settings and values, such as {epochs: 10}");
      return settings;
    }
    for (const auto& [name, value] : map->members)
      settings.push_back({long_name(name), to_json(value, -1), parts_.place_of(value)});
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
                 StudyMethod method{name, "", "", {}, parts_.place_of(value)};
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
                 parts_.methods.push_back(std::move(method));
               });
  }

  void read_tasks() {
    read_named("tasks", "{cola: {task: cola, data: glue/CoLA}}",
               [&](Options& section, const std::string& name, const Node& value) {
                 StudyTask task;
                 task.name = name;
                 task.place = parts_.place_of(value);
                 Options& own = section.section(name);
                 task.task = own.text("task", std::nullopt);
                 task.data = own.text("data", "");
                 task.train = own.text("train", "");
                 task.eval = own.text("eval", "");
                 task.test = own.text("test", "");
                 task.settings = read_settings(own, "set");
                 if (task.data.empty() == task.train.empty())
                   own.fault("", "expected data: with a folder or file, or train: with a file");
                 parts_.tasks.push_back(std::move(task));
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
      StudyAxis axis{{key}, {read_list(grid, key, value)}};
      if (axis.size() > 0) parts_.axes.push_back(std::move(axis));
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
      return parts_.tell(parts_.place_of(item), "/together: expected a section of lists");
    StudyAxis axis;
    for (const auto& [key, value] : item.members) {
      axis.keys.push_back(key);
      axis.columns.push_back(value.kind == Node::Kind::kList ? value.items : std::vector{value});
      if (axis.columns.back().empty())
        return parts_.tell(parts_.place_of(value), "/together/" + key + ": found an empty list");
      if (axis.columns.back().size() == axis.size()) continue;
      return parts_.tell(parts_.place_of(value), "/together/" + key + ": expected " +
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
          parts_.tell(parts_.place_of(axis.columns.front()[i]),
                      "/together: values " + std::to_string(j + 1) + " and " +
                          std::to_string(i + 1) + " of every list are the same");
      }
    }
    parts_.axes.push_back(std::move(axis));
  }

  Node document_;
  Options options_;
  StudyFile out_;
  StudyParts parts_;
};

}  // namespace

StudyFile parse_study(const std::string& text, const std::string& source) {
  return Reader(text, source).read();
}

StudyFile read_study(const Path& path) { return parse_study(read_file(path), path.string()); }

}  // namespace graft
