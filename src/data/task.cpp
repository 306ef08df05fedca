#include "data/task.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "base/ascii.h"
#include "base/error.h"
#include "base/options.h"
#include "base/printable.h"
#include "data/metrics.h"
#include "data/plain_task.h"
#include "data/task_parts.h"

namespace graft {

namespace {

constexpr Name<TaskKind> kTaskKinds[] = {{TaskKind::kClassification, "classification"},
                                         {TaskKind::kRegression, "regression"},
                                         {TaskKind::kGeneration, "generation"},
                                         {TaskKind::kChoice, "choice"}};

constexpr Name<TruncationSide> kTruncationSides[] = {{TruncationSide::kRight, "right"},
                                                     {TruncationSide::kLeft, "left"}};

constexpr int64_t kMostTargetTokens = 1 << 22;

// "SST-2", "sst_2" and "sst2" are one name.
std::string plain_name(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '-' || c == '_' || c == ' ') continue;
    out += lower_ascii(c);
  }
  return out;
}

// "text:LABEL,LABEL"
Task short_form(const std::string& form) {
  std::vector<std::string> labels;
  const std::string list = form.substr(form.find(':') + 1);
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    labels.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  if (const std::string fault = labels_fault(labels); !fault.empty()) {
    throw InputError("task " + quote(form) + ": " + fault +
                     "; the short form is text:LABEL,LABEL, for instance text:ham,spam");
  }
  return plain_task(labels);
}

void read_labels(Options& options, Classification& task) {
  task.labels = options.texts("labels", std::nullopt);
  if (const std::string fault = labels_fault(task.labels); !fault.empty() && options.has("labels"))
    options.fault("labels", fault);
  if (const Node* spellings = options.raw("spellings"); spellings != nullptr) {
    if (spellings->kind != Node::Kind::kMap)
      options.fault("spellings", "expected a section such as {\"0\": " +
                                     (task.labels.empty() ? "negative" : task.labels[0]) + "}");
    for (const auto& [spelling, label] : spellings->members) {
      if (std::find(task.labels.begin(), task.labels.end(), label.scalar) == task.labels.end()) {
        options.fault("spellings", quote(spelling) + " stands for " + quote(label.scalar) +
                                       ", which is not one of the labels" +
                                       did_you_mean(label.scalar, task.labels));
      } else if (std::find(task.labels.begin(), task.labels.end(), spelling) != task.labels.end() &&
                 spelling != label.scalar) {
        options.fault("spellings", quote(spelling) + " is itself a label and cannot stand for " +
                                       quote(label.scalar));
      }
      task.spellings[spelling] = label.scalar;
    }
  }
  const std::string positive =
      options.text("positive", task.labels.size() > 1 ? task.labels[1] : "");
  const auto found = std::find(task.labels.begin(), task.labels.end(), positive);
  if (found != task.labels.end()) task.positive = found - task.labels.begin();
  else if (options.has("positive"))
    options.fault("positive", "expected one of the labels, found " + quote(positive) +
                                  did_you_mean(positive, task.labels));
}

void read_metrics(Options& options, Task& task) {
  const std::vector<std::string>& known = metric_names(task.kind());
  task.metrics = options.texts("metrics", default_metrics(task.kind()));
  if (task.metrics.empty())
    options.fault("metrics", "expected at least one of " + joined(known, "or"));
  std::set<std::string> seen;
  for (const std::string& metric : task.metrics) {
    if (std::find(known.begin(), known.end(), metric) == known.end()) {
      options.fault("metrics", "expected " + joined(known, "or") + ", found " + quote(metric) +
                                   did_you_mean(metric, known));
    }
    if (metric == "f1" && task.num_labels() != 2)
      options.fault("metrics", "f1 needs two labels; with " + std::to_string(task.num_labels()) +
                                   " use f1_macro");
    if (!seen.insert(metric).second)
      options.fault("metrics", "metric " + quote(metric) + " appears twice");
  }
  task.primary_metric = options.text("primary", task.metrics.empty() ? "" : task.metrics.front());
  if (!task.metrics.empty() && !seen.contains(task.primary_metric)) {
    options.fault("primary", "expected one of the task's metrics (" + joined(task.metrics) +
                                 "), found " + quote(task.primary_metric));
  }
}

void read_columns(Options& options, Task& task) {
  task.columns = options.texts("columns", std::vector<std::string>{});
  task.headerless = options.texts("headerless", std::vector<std::string>{});
  if (!task.columns.empty() && !task.headerless.empty())
    options.fault("headerless", "columns says already that no file has a header line; remove one");
  const char* list = options.has("columns") ? "columns" : "headerless";
  const std::vector<std::string>& names = options.has("columns") ? task.columns : task.headerless;
  if (options.has(list) && names.empty())
    options.fault(list, "expected the names of the file's columns, in order");
  std::set<std::string> seen;
  for (const std::string& column : names) {
    if (!seen.insert(column).second)
      options.fault(list, "column " + quote(column) + " appears twice");
  }
  if (names.empty()) return;
  for (const auto& [key, column] : detail::named_columns(task)) {
    const bool has_fault = column.empty(), may_lack = key == "id" && task.columns.empty();
    if (has_fault || may_lack || seen.contains(column)) continue;
    options.fault(key, quote(column) + " is not in " + list + did_you_mean(column, names) +
                           "; there are " + listed_names(names));
  }
}

bool shows(const Template& text, const std::string& column) {
  const std::vector<std::string> columns = text.columns();
  return std::find(columns.begin(), columns.end(), column) != columns.end();
}

// One character that can stand between two fields.
char read_delimiter(Options& options) {
  const std::string text = options.text("delimiter", std::nullopt);
  const bool is_usable =
      text.size() == 1 && (text == "\t" || (text[0] > ' ' && text[0] < 127 && text != "\"" &&
                                            std::isalnum(text[0]) == 0));
  if (is_usable) return text[0];
  options.fault("delimiter",
                "expected one character that separates fields, such as \";\" or \"\\t\", found " +
                    quote(text));
  return '\0';
}

// text and label.
void read_labelled(Options& options, Labelled& task) {
  task.text = detail::column_or_template_at(options, "text");
  if (options.has("second")) task.second = detail::column_or_template_at(options, "second");
  task.label_column = options.text("label", std::nullopt);
  if (task.second == task.text)
    options.fault("second", "the second text is the same column as the first");
  if (task.label_column == task.text.text && !task.label_column.empty())
    options.fault("label", "the label is the same column as the text");
  else if (shows(task.text, task.label_column) ||
           (task.second && shows(*task.second, task.label_column)))
    options.fault("label",
                  "the text shows the column " + quote(task.label_column) + ", the answer");
}

Classification read_classification(Options& options) {
  Classification task;
  read_labelled(options, task);
  read_labels(options, task);
  task.cloze = detail::read_cloze(options, task.labels);
  return task;
}

Regression read_regression(Options& options) {
  Regression task;
  read_labelled(options, task);
  if (options.has("least")) task.least = options.number("least", std::nullopt, -1e300, 1e300);
  for (const char* key : {"labels", "spellings", "positive", "cloze"}) {
    if (options.has(key))
      options.fault(key,
                    "a regression has values, not labels; remove it, or set kind: classification");
  }
  return task;
}

// A kind that has prompt and target.
template <class Question>
Question read_prompted(Options& options, TaskKind of) {
  const std::string kind = word_of(kTaskKinds, of);
  for (const char* key : {"text", "second", "label", "labels", "spellings", "positive", "cloze"}) {
    if (options.has(key))
      options.fault(
          key,
          "a " + kind + " has prompt and target instead; remove it, or set kind: classification");
  }
  Question task = detail::read_question<Question>(options);
  task.group_column = detail::optional_text(options, "group");
  task.max_target_length = options.integer("max_target_length", 0, 0, kMostTargetTokens);
  if (task.max_target_length > 0 && task.chat != "none")
    options.fault("max_target_length",
                  "a chat is cut as a whole, to max_length; remove it, or set chat: none");
  return task;
}

decltype(Task::question) read_question(Options& options, TaskKind kind) {
  switch (kind) {
    case TaskKind::kClassification: return read_classification(options);
    case TaskKind::kRegression: return read_regression(options);
    case TaskKind::kGeneration: return read_prompted<Generation>(options, kind);
    case TaskKind::kChoice: return read_prompted<Choice>(options, kind);
  }
  throw InternalError("unknown kind of task");
}

}  // namespace

const Labelled* Task::labelled() const {
  if (const auto* own = find<Classification>()) return own;
  return find<Regression>();
}

const Prompted* Task::prompted() const {
  if (const auto* own = find<Generation>()) return own;
  return find<Choice>();
}

const std::vector<std::string>& Task::labels() const {
  static const std::vector<std::string> kNone;
  const auto* own = find<Classification>();
  return own != nullptr ? own->labels : kNone;
}

const Cloze* Task::cloze() const {
  const auto* own = find<Classification>();
  return own != nullptr && own->cloze ? &*own->cloze : nullptr;
}

std::optional<std::string> without_zero_fraction(std::string_view written) {
  const auto is_run = [](std::string_view digits, const char* of) {
    return !digits.empty() && digits.find_first_not_of(of) == std::string_view::npos;
  };
  const size_t point = std::min(written.find('.'), written.size());
  const std::string_view whole = written.substr(0, point), zeros = written.substr(point);
  const bool is_whole = is_run(whole.substr(whole.starts_with('-') ? 1 : 0), "0123456789") &&
                        zeros.size() > 1 && is_run(zeros.substr(1), "0");
  return is_whole ? std::optional(std::string(whole)) : std::nullopt;
}

std::optional<int64_t> Classification::find_label(std::string_view written) const {
  std::string label(written);
  if (const auto spelling = spellings.find(label); spelling != spellings.end())
    label = spelling->second;
  const auto found = std::find(labels.begin(), labels.end(), label);
  if (found != labels.end()) return found - labels.begin();
  const std::optional<std::string> whole = without_zero_fraction(written);
  return whole ? find_label(*whole) : std::nullopt;
}

Task parse_task(const Node& node, const std::string& source) {
  Options options(node, source);
  options.ignore("about");  // for `graft inspect tasks`
  Task task;
  task.name = options.text("name", std::nullopt);
  const TaskKind kind = options.choice("kind", TaskKind::kClassification, kTaskKinds);
  task.id_column = detail::optional_text(options, "id");
  task.embedding_column = detail::optional_text(options, "embedding");
  task.subspace_column = detail::optional_text(options, "subspace");
  task.question = read_question(options, kind);
  task.truncation_side =
      options.choice("truncation_side", TruncationSide::kRight, kTruncationSides);
  read_columns(options, task);
  if (options.has("format"))
    task.format = options.choice("format", TableFormat::kTsv, kTableFormats);
  if (options.has("delimiter")) task.delimiter = read_delimiter(options);
  if (task.delimiter != '\0' && task.format && task.format != TableFormat::kCsv)
    options.fault("delimiter", "only CSV has one to choose; set format: csv, or remove it");
  read_metrics(options, task);
  detail::check_text_metrics(options, task);
  options.finish();
  return task;
}

Node task_to_node(const Task& task) {
  const auto texts = [](const std::vector<std::string>& words) {
    Node list = Node::list();
    for (const std::string& word : words) list.items.push_back(Node::text(word));
    return list;
  };
  Node node = Node::map();
  node["name"] = Node::text(task.name);
  node["kind"] = Node::text(word_of(kTaskKinds, task.kind()));
  if (const Labelled* labelled = task.labelled()) {
    node["text"] = Node::text(labelled->text.text);
    if (labelled->second) node["second"] = Node::text(labelled->second->text);
    node["label"] = Node::text(labelled->label_column);
  }
  if (task.id_column) node["id"] = Node::text(*task.id_column);
  if (task.embedding_column) node["embedding"] = Node::text(*task.embedding_column);
  if (task.subspace_column) node["subspace"] = Node::text(*task.subspace_column);
  if (const auto* classes = task.find<Classification>()) {
    node["labels"] = texts(classes->labels);
    if (!classes->spellings.empty()) {
      Node spellings = Node::map();
      for (const auto& [spelling, label] : classes->spellings)
        spellings[spelling] = Node::text(label);
      node["spellings"] = std::move(spellings);
    }
    node["positive"] = Node::text(classes->labels.at(static_cast<size_t>(classes->positive)));
  }
  detail::write_text_parts(node, task);
  if (const auto* values = task.find<Regression>(); values != nullptr && values->least)
    node["least"] = Node::number(*values->least);
  if (!task.columns.empty()) node["columns"] = texts(task.columns);
  if (!task.headerless.empty()) node["headerless"] = texts(task.headerless);
  if (task.format) node["format"] = Node::text(word_of(kTableFormats, *task.format));
  node["truncation_side"] = Node::text(word_of(kTruncationSides, task.truncation_side));
  if (task.delimiter != '\0') node["delimiter"] = Node::text(std::string(1, task.delimiter));
  node["metrics"] = texts(task.metrics);
  node["primary"] = Node::text(task.primary_metric);
  return node;
}

Task with_options(const Task& task, const Node& changes, const std::string& source) {
  Node node = task_to_node(task);
  const auto leave_out = [&node](const std::string& key) {
    std::erase_if(node.members, [&](const auto& member) { return member.first == key; });
  };
  if (changes.find("metrics") != nullptr) leave_out("primary");
  for (const auto& [key, value] : changes.members) {
    if (value.kind == Node::Kind::kNull) leave_out(key);
    else node[key] = value;
  }
  return parse_task(node, source);
}

std::vector<std::string> task_names(const Path& tasks_dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(tasks_dir, error)) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  if (error)
    throw IoError("cannot list the folder of tasks '" + tasks_dir.string() +
                  "': " + error.message());
  std::sort(names.begin(), names.end());
  return names;
}

std::string task_about(const std::string& name, const Path& tasks_dir) {
  const Path path = tasks_dir / (name + ".yaml");
  const Node root = parse_yaml(read_file(path), path.string());
  const Node* about = root.kind == Node::Kind::kMap ? root.find("about") : nullptr;
  return about == nullptr ? "" : about->scalar;
}

bool is_task_file(const std::string& name_or_path) {
  return !name_or_path.starts_with("text:") &&
         (name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".yaml") ||
          name_or_path.ends_with(".yml"));
}

Task load_task(const std::string& name_or_path, const Path& tasks_dir) {
  if (name_or_path.starts_with("text:")) return short_form(name_or_path);
  if (is_task_file(name_or_path))
    return parse_task(parse_yaml(read_file(name_or_path), name_or_path), name_or_path);
  if (tasks_dir.empty())
    throw InputError("unknown task " + quote(name_or_path) + ": " + kGiveShare +
                     ", or a YAML file, or text:LABEL,LABEL");
  const std::vector<std::string> known = task_names(tasks_dir);
  const std::string name = plain_name(name_or_path);
  const auto found = std::find_if(known.begin(), known.end(), [&](const std::string& ready) {
    return plain_name(ready) == name;
  });
  if (found == known.end()) {
    throw InputError("unknown task " + quote(name_or_path) + did_you_mean(name, known) +
                     "; ready tasks: " + joined(known) +
                     "; or name a YAML file, or text:LABEL,LABEL");
  }
  const Path path = tasks_dir / (*found + ".yaml");
  return parse_task(parse_yaml(read_file(path), path.string()), path.string());
}

}  // namespace graft
