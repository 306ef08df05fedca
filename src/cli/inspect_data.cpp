#include "cli/inspect_data.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/printable.h"
#include "base/wording.h"
#include "cli/common.h"
#include "cli/files.h"
#include "data/propose.h"
#include "data/row_writer.h"
#include "feed/dataset.h"
#include "infer/records.h"
#include "model/language_batch.h"

namespace graft {

namespace {

using Ids = std::vector<int64_t>;

struct Marks {
  const char *target, *prompt, *end;  // before and after a stretch of tokens
};

// https://no-color.org: a variable that is not empty turns colour off.
Marks marks_of_terminal() {
  const char *no_color = std::getenv("NO_COLOR"), *terminal = std::getenv("TERM");
  const bool is_plain = ::isatty(STDOUT_FILENO) != 1 ||
                        (no_color != nullptr && *no_color != '\0') ||
                        (terminal != nullptr && std::string(terminal) == "dumb");
  return is_plain ? Marks{"[", "", "]"} : Marks{"\033[32m", "\033[90m", "\033[0m"};
}

class Printer {
 public:
  Printer(const Task& task, const ModelText& text, const Dataset& data, bool has_decoder)
      : task_(task),
        text_(text),
        data_(data),
        has_decoder_(has_decoder),
        marks_(marks_of_terminal()) {}

  void print_row(size_t i) const {
    const Example& example = data_.examples[i];
    const Sequence& sequence = data_.sequences[i];
    std::printf("row %s, line %lld, %s, %zu tokens", printable(example.id_text).c_str(),
                static_cast<long long>(example.line), printable(answer_of(example)).c_str(),
                sequence.ids.size());
    if (task_.is_answered_in_words())
      std::printf(", %s in the loss", count_text(num_targets(sequence)).c_str());
    if (const CutRow* cut = cut_of(data_, static_cast<int64_t>(i)))
      std::printf(", cut by %s", count_text(cut->tokens).c_str());
    std::printf("\n ");
    print_tokens(sequence.ids, targets_of(sequence), sequence.type_ids);
    if (!sequence.target_ids().empty()) {
      std::printf("  to be written:");
      print_tokens(sequence.target_ids(), std::vector<bool>(sequence.target_ids().size(), true),
                   {});
    }
    if (sequence.mask() != nullptr) print_words(sequence);
    if (!data_.options.empty()) print_options(i);
  }

  Node json_row(size_t i) const {
    const Example& example = data_.examples[i];
    const Sequence& sequence = data_.sequences[i];
    std::vector<Node> is_target;
    for (const bool each : targets_of(sequence)) is_target.push_back(Node::boolean(each));
    Node row = Node::map({{"id", id_node(example)},
                          {"ids", Node::integers(sequence.ids)},
                          {"tokens", tokens_node(sequence.ids)},
                          {"is_target", Node::list(std::move(is_target))}});
    if (const CutRow* cut = cut_of(data_, static_cast<int64_t>(i)))
      row["cut"] = Node::integer(cut->tokens);
    if (!sequence.target_ids().empty()) {
      row["target_ids"] = Node::integers(sequence.target_ids());
      row["target_tokens"] = tokens_node(sequence.target_ids());
    }
    if (!data_.options.empty()) {
      std::vector<Node> options;
      for (const Ids& option : data_.options[i]) options.push_back(Node::integers(option));
      row["options"] = Node::list(std::move(options));
      row["label"] =
          example.label ? Node::integer(static_cast<int64_t>(*example.label)) : Node::null();
    }
    return row;
  }

  void print_counts() const {
    Ids lengths;
    int64_t targets = 0;
    std::map<std::string, int64_t> answers;
    for (size_t i = 0; i < data_.sequences.size(); ++i) {
      const Sequence& sequence = data_.sequences[i];
      lengths.push_back(sequence.num_tokens());
      targets += num_targets(sequence);
      ++answers[group_of(data_.examples[i])];
    }
    std::sort(lengths.begin(), lengths.end());
    const auto at_share = [&](double share) {
      return static_cast<long long>(
          lengths[static_cast<size_t>(share * static_cast<double>(lengths.size() - 1))]);
    };
    std::printf(
        "\n%s %s, %s %s%s; length: shortest %lld, median %lld, 95%% %lld, longest %lld; cut to "
        "max_length: %s\n",
        count_text(data_.size()).c_str(), plural(data_.size(), "row").c_str(),
        count_text(data_.num_tokens).c_str(), plural(data_.num_tokens, "token").c_str(),
        task_.is_answered_in_words() ? (", " + count_text(targets) + " in the loss").c_str() : "",
        at_share(0), at_share(0.5), at_share(0.95), at_share(1),
        count_text(data_.num_cut()).c_str());
    if (data_.num_cut() > 0) std::printf("%s\n", cut_message(data_).c_str());
    for (const auto& [answer, count] : answers)
      std::printf("%-24s %8s %s\n", printable(answer).c_str(), count_text(count).c_str(),
                  plural(count, "row").c_str());
    if (task_.cloze() != nullptr)
      std::printf("The loss is taken once a row, at the mask, among the words of the labels.\n");
    else if (!task_.is_answered_in_words())
      std::printf("The loss is taken once a row, from the %s token.\n",
                  has_decoder_ ? "last" : "first");
  }

 private:
  std::vector<bool> targets_of(const Sequence& sequence) const {
    std::vector<bool> targets = sequence.is_target();
    targets.resize(sequence.ids.size(), false);
    if (const Mask* mask = sequence.mask()) targets[static_cast<size_t>(mask->token)] = true;
    return targets;
  }

  std::string label_of(const Example& example) const {
    const auto index = static_cast<size_t>(*example.label);
    return task_.kind() == TaskKind::kRegression ? Node::number(*example.label).scalar
           : task_.kind() == TaskKind::kChoice   ? std::to_string(index)
                                                 : task_.labels()[index];
  }

  std::string answer_of(const Example& example) const {
    if (task_.kind() == TaskKind::kGeneration)
      return example.at<GenerationRow>().references.empty() ? "no target" : "with a target";
    return (task_.kind() == TaskKind::kChoice ? "option " : "label ") +
           (example.label ? label_of(example) : "none");
  }

  // What the counts at the end go by.
  std::string group_of(const Example& example) const {
    if (task_.is_answered_in_words()) return example.group();
    if (!example.label) return "(no label)";
    return task_.kind() == TaskKind::kRegression ? "(a value)" : label_of(example);
  }

  // A token as the vocabulary has it; what would move a terminal's cursor is escaped.
  std::string shown(int64_t id) const {
    return printable(text_.tokenizer->id_to_token(id).value_or("?"), 1000);
  }

  void print_tokens(const Ids& ids, const std::vector<bool>& is_target, const Ids& types) const {
    for (size_t t = 0; t < ids.size(); ++t) {
      const bool begins = t == 0 || is_target[t] != is_target[t - 1],
                 ends = t + 1 == ids.size() || is_target[t] != is_target[t + 1];
      const bool is_plain_prompt = *marks_.prompt == '\0' && !is_target[t];
      std::printf(" %s%s", begins ? (is_target[t] ? marks_.target : marks_.prompt) : "",
                  shown(ids[t]).c_str());
      if (t < types.size() && types[t] != 0) std::printf("/%lld", static_cast<long long>(types[t]));
      if (ends && !is_plain_prompt) std::printf("%s", marks_.end);
    }
    std::printf("\n");
  }

  void print_words(const Sequence& sequence) const {
    std::printf("  words at the mask:");
    for (size_t label = 0; label < task_.labels().size(); ++label) {
      std::printf("%s %s %s", label == 0 ? "" : ",", printable(task_.labels()[label]).c_str(),
                  shown(sequence.mask()->words->at(label)).c_str());
    }
    std::printf("\n");
  }

  void print_options(size_t row) const {
    const std::vector<Ids>& options = data_.options[row];
    for (size_t i = 0; i < options.size(); ++i) {
      const bool is_right =
          data_.examples[row].label && static_cast<size_t>(*data_.examples[row].label) == i;
      std::printf("  %s option %zu:", is_right ? "*" : " ", i);
      print_tokens(options[i], std::vector<bool>(options[i].size(), true), {});
    }
  }

  Node tokens_node(const Ids& ids) const {
    std::vector<Node> list;
    for (const int64_t id : ids)
      list.push_back(Node::text(text_.tokenizer->id_to_token(id).value_or("")));
    return Node::list(std::move(list));
  }

  const Task& task_;
  const ModelText& text_;
  const Dataset& data_;
  bool has_decoder_;
  Marks marks_;
};

bool lacks_target(const Example& example) {
  const auto& row = example.at<GenerationRow>();
  return row.turns.empty() ? !row.target : row.turns.back().role != "assistant";
}

// As training sees the rows; of a generation those without a target as prompts.
Dataset encoded(std::vector<Example> examples, const Task& task, const ModelText& text,
                const ModelConfig& config, int64_t max_length) {
  if (task.kind() != TaskKind::kGeneration)
    return encode_examples(std::move(examples), task, text, config, max_length);
  Dataset out;
  for (size_t begin = 0; begin < examples.size();) {  // stretches of one kind
    size_t end = begin + 1;
    while (end < examples.size() && lacks_target(examples[end]) == lacks_target(examples[begin]))
      ++end;
    const TargetUse use = lacks_target(examples[begin]) ? TargetUse::kLeaveOut : TargetUse::kFollow;
    const auto first = examples.begin() + static_cast<std::ptrdiff_t>(begin),
               last = examples.begin() + static_cast<std::ptrdiff_t>(end);
    Dataset part =
        encode_examples(std::vector<Example>(first, last), task, text, config, max_length, use);
    append_rows(std::move(part), out);
    begin = end;
  }
  return out;
}

}  // namespace

int inspect_data(const InspectDataFlags& flags) {
  if (flags.task.empty() != flags.model.empty()) {
    throw InputError(std::string(flags.task.empty() ? "--task" : "--model") +
                     ": missing; rows as a model sees them take both --model and --task, a task is "
                     "proposed without either");
  }
  if (flags.task.empty()) {
    const auto format =
        flags.data_format.empty() ? std::nullopt : std::optional(row_format(flags.data_format));
    const Proposal proposal = propose_task(flags.data, format);
    std::fputs(flags.is_json ? (to_json(task_to_node(proposal.task)) + "\n").c_str()
                             : proposal.yaml.c_str(),
               stdout);
    return static_cast<int>(ExitCode::kDone);
  }
  const Task task = with_format(load_task(flags.task, share().tasks()), flags.data_format);
  const ModelConfig config = read_config(flags.model, IgnoredKeys{.named = flags.ignored_keys});
  check_task(task, config);
  const ModelText text = load_model_text(flags.model);
  const Dataset data = encoded(read_examples(flags.data, task, LabelUse::kOptional), task, text,
                               config, resolve_max_length(flags.max_length, config));
  const Printer printer(task, text, data, config.has_decoder());
  const auto shown = static_cast<size_t>(std::min(flags.rows, data.size()));
  for (size_t i = 0; i < shown; ++i) {
    if (flags.is_json) std::printf("%s\n", to_json(printer.json_row(i), -1).c_str());
    else printer.print_row(i);
  }
  if (!flags.is_json) printer.print_counts();
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace graft
