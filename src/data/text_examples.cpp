// Rows of a table as examples with a prompt: generation, choice, cloze.
#include <algorithm>
#include <bit>
#include <iterator>
#include <memory>
#include <unordered_map>

#include "base/document.h"
#include "base/error.h"
#include "base/wording.h"
#include "data/answers.h"
#include "data/bound_template.h"
#include "data/cells.h"

namespace graft {

namespace detail {

namespace {

std::vector<std::string> texts_cell(const Table& table, size_t row, size_t column) {
  std::vector<std::string> texts;
  for (const Node& item : list_cell(table, row, column, "a list of texts").items) {
    if (item.kind != Node::Kind::kScalar || !item.is_string) {
      throw InputError(cell_at(table, row, column) + "expected a list of texts, found an element " +
                       std::to_string(texts.size()) + " that is none; put it in quotes");
    }
    texts.push_back(item.scalar);
  }
  return texts;
}

// A row's right answer, checked against every answer metric of the task.
std::string answer_of(const BoundTemplate& text, size_t row, const Task& task) {
  std::string answer = text.render(row);
  for (const std::string& metric : task.metrics) {
    if (!metric.starts_with("answer_")) continue;
    if (const std::string fault = answer_fault(metric, *task.at<Generation>().answer, answer);
        !fault.empty())
      throw InputError(text.at(row) + fault);
  }
  return answer;
}

std::string group_of(const Table& table, size_t row, const Task& task) {
  const std::optional<std::string>& group = task.prompted()->group_column;
  const std::optional<size_t> column = group ? table.find_column(*group) : std::nullopt;
  return column && !is_absent(table, row, *column) ? text_cell(table, row, *column) : task.name;
}

class GenerationRows {
 public:
  GenerationRows(const Table& table, const Task& task, LabelUse use)
      : table_(table), task_(task), use_(use) {
    const Generation& generation = task.at<Generation>();
    const std::string of_task = " of task '" + task.name + "'";
    const bool needs_target = use == LabelUse::kRequired;
    if (generation.messages_column)
      messages_ = generation.prompt
                      ? table.find_column(*generation.messages_column)
                      : table.column(*generation.messages_column, "the chat" + of_task);
    if (generation.prompt && (!messages_ || has_columns(table, generation.prompt->text))) {
      prompt_.emplace(*generation.prompt, table, of_task);
      if (needs_target || has_columns(table, *generation.target))
        target_.emplace(*generation.target, table, "the target" + of_task);
    }
    if (generation.system_column) system_ = table.find_column(*generation.system_column);
    if (generation.references_column)
      references_ = column(*generation.references_column, "the references" + of_task, needs_target);
    if (generation.answer && (needs_target || has_columns(table, generation.answer->text)))
      answer_.emplace(generation.answer->text, table, "the answer" + of_task);
  }

  void fill(size_t row, Example& example) const {
    auto& own = example.row.emplace<GenerationRow>();
    own.group = group_of(table_, row, task_);
    if (is_given(answer_, row)) own.answer = answer_of(*answer_, row, task_);
    if (messages_ && !is_absent(table_, row, *messages_))
      fill_chat(row, turns_cell(table_, row, *messages_), *messages_, own);
    else if (const auto list = prompt_list(row)) fill_lists(row, *list, own);
    else fill_prompt(row, example);
    add_system(row, own);
    const bool has_references = references_ && !is_absent(table_, row, *references_) &&
                                !table_.rows[row].cells[*references_].empty();
    if (references_ && (use_ == LabelUse::kRequired || has_references)) {
      own.references = texts_cell(table_, row, *references_);
      if (own.references.empty())
        throw InputError(cell_at(table_, row, *references_) +
                         "expected at least one reference, found an empty list");
    }
  }

 private:
  std::optional<size_t> column(const std::string& name, const std::string& purpose,
                               bool is_needed) const {
    return is_needed ? table_.column(name, purpose) : table_.find_column(name);
  }

  // Of what may be left out: whether it is to be read. A cell of CSV that says nothing is empty.
  bool is_given(const std::optional<BoundTemplate>& text, size_t row) const {
    return text && (use_ == LabelUse::kRequired || !(text->lacks_cell(row) || text->is_blank(row)));
  }

  // `column`: where the last turn stands.
  void fill_chat(size_t row, std::vector<Turn> turns, size_t column, GenerationRow& own) const {
    const bool ends_well = turns.back().role == "assistant";
    if (use_ == LabelUse::kRequired && !ends_well)
      throw InputError(cell_at(table_, row, column) +
                       "expected a last turn of the assistant, found one of the " +
                       turns.back().role);
    const bool is_learnt = std::any_of(turns.begin(), turns.end(), [](const Turn& turn) {
      return turn.role == "assistant" && turn.is_learnt;
    });
    if (use_ == LabelUse::kRequired && !is_learnt)
      throw InputError(
          cell_at(table_, row, column) +
          "every turn of the assistant has the weight 0, which leaves nothing to learn");
    if (ends_well) own.references = {turns.back().content};
    own.turns = std::move(turns);
    own.turns_column = table_.columns[column];
  }

  // The column of a prompt whose cell is a list of turns, as trl writes it.
  std::optional<size_t> prompt_list(size_t row) const {
    const auto column =
        prompt_ && task_.at<Generation>().chat != "none" ? prompt_->only_column() : std::nullopt;
    return column && table_.rows[row].kind(*column) == CellKind::kTree ? column : std::nullopt;
  }

  // The turns of a prompt, which are not its target, and those of the target, a list as well or the
  // text of one turn.
  void fill_lists(size_t row, size_t column, GenerationRow& own) const {
    std::vector<Turn> turns = turns_cell(table_, row, column);
    for (Turn& turn : turns) {
      if (turn.role == "assistant")
        turn.is_learnt = turn.is_learnt && task_.at<Generation>().loss == LossOn::kAll;
    }
    if (is_given(target_, row)) {
      const std::optional<size_t> target = target_->only_column();
      if (target && table_.rows[row].kind(*target) == CellKind::kTree) {
        const std::vector<Turn> answer = turns_cell(table_, row, *target);
        turns.insert(turns.end(), answer.begin(), answer.end());
        column = *target;
      } else {
        turns.push_back({"assistant", target_->render(row)});
      }
    }
    fill_chat(row, std::move(turns), column, own);
    own.turns_column.clear();  // turns are counted through both
  }

  void fill_prompt(size_t row, Example& example) const {
    if (!prompt_)
      throw InputError(cell_at(table_, row, *messages_) + "expected a chat, found " +
                       kind_shown(table_.rows[row].kind(*messages_)));
    auto& own = example.at<GenerationRow>();
    example.text = prompt_->render(row);
    if (is_given(target_, row)) own.target = target_->render(row);
    if (own.target && own.target->empty() && !own.answer)
      throw InputError(table_.at(row) + "expected a target, found an empty text");
    if (own.target) own.references = {*own.target};
    if (task_.at<Generation>().chat == "none") return;
    own.turns = {{"user", example.text}};
    if (own.target) own.turns.push_back({"assistant", *own.target});
  }

  // The system's turn where it stands in a column of its own, as LLaMA-Factory writes it.
  void add_system(size_t row, GenerationRow& own) const {
    const bool is_chat = !own.turns.empty();
    if (!system_ || !is_chat || is_absent(table_, row, *system_)) return;
    const std::string& text = text_cell(table_, row, *system_);
    if (text.empty()) return;
    if (own.turns.front().role != "system") {
      own.turns.insert(own.turns.begin(), {"system", text});
      own.turns_column.clear();  // turns are counted from this one
    } else if (own.turns.front().content != text) {
      throw InputError(cell_at(table_, row, *system_) +
                       "the turns begin with another text of the system; leave one of the two");
    }
  }

  const Table& table_;
  const Task& task_;
  LabelUse use_;
  std::optional<BoundPrompt> prompt_;
  std::optional<BoundTemplate> target_, answer_;
  std::optional<size_t> messages_, system_, references_;
};

class ChoiceRows {
 public:
  ChoiceRows(const Table& table, const Task& task, LabelUse use)
      : table_(table),
        task_(task),
        use_(use),
        prompt_(task.at<Choice>().prompt, table, " of task '" + task.name + "'") {
    const Choice& choice = task.at<Choice>();
    const std::string of_task = " of task '" + task.name + "'";
    if (choice.options.column)
      options_ = table.column(*choice.options.column, "the options" + of_task);
    for (const Template& text : choice.options.texts)
      texts_.emplace_back(text, table, "the options" + of_task);
    target_ = use == LabelUse::kRequired
                  ? table.column(choice.target_column, "the target" + of_task)
                  : table.find_column(choice.target_column);
  }

  void fill(size_t row, Example& example) const {
    auto& own = example.row.emplace<ChoiceRow>();
    own.group = group_of(table_, row, task_);
    example.text = prompt_.render(row);
    const std::vector<std::string> options = options_of(row);
    if (options.size() < 2)
      throw InputError(table_.at(row) + "expected at least two options, found " +
                       std::to_string(options.size()));
    const bool is_there =
        target_ && !is_absent(table_, row, *target_) &&
        !(use_ == LabelUse::kOptional && table_.rows[row].cells[*target_].empty());
    if (is_there || use_ == LabelUse::kRequired)
      example.label = static_cast<double>(right_option(row, options));
    for (const std::string& option : options) own.options.push_back(written(row, option));
  }

 private:
  std::vector<std::string> options_of(size_t row) const {
    const OptionSource& source = task_.at<Choice>().options;
    std::vector<std::string> out;
    for (const BoundTemplate& text : texts_) out.push_back(text.render(row));
    if (!options_) return out;
    if (source.separator.empty()) return texts_cell(table_, row, *options_);
    const std::string& cell = text_cell(table_, row, *options_);
    const size_t at = source.after.empty() ? 0 : cell.rfind(source.after);
    if (at == std::string::npos)
      throw InputError(cell_at(table_, row, *options_) + "expected options after " +
                       quote(source.after) + ", found none");
    for (size_t begin = at + source.after.size(); begin <= cell.size();) {
      const size_t end = std::min(cell.find(source.separator, begin), cell.size());
      out.push_back(cell.substr(begin, end - begin));
      begin = end + source.separator.size();
    }
    return out;
  }

  int64_t right_option(size_t row, const std::vector<std::string>& options) const {
    const std::string at = cell_at(table_, row, *target_);
    const CellKind kind = table_.rows[row].kind(*target_);
    const std::string& cell = table_.rows[row].cells[*target_];
    if (kind != CellKind::kText && kind != CellKind::kNumber)
      throw InputError(at + "expected an option or its index, found " + kind_shown(kind));
    const TargetForm form = task_.at<Choice>().target_form;
    if (form == TargetForm::kIndex || (form == TargetForm::kByCell && kind == CellKind::kNumber)) {
      const std::optional<int64_t> index = whole_number(cell);
      if (index && *index >= 0 && *index < std::ssize(options)) return *index;
      throw InputError(at + "expected an option's index in 0.." +
                       std::to_string(options.size() - 1) + ", found " + quote(cell));
    }
    const auto found = std::find(options.begin(), options.end(), cell);
    if (found == options.end())
      throw InputError(at + "expected one of the options, found " + quote(cell) +
                       did_you_mean(cell, options) + "; here are " + joined_first(options, 10));
    if (std::find(found + 1, options.end(), cell) != options.end())
      throw InputError(at + "the right option " + quote(cell) +
                       " appears twice among the options; give its index");
    return found - options.begin();
  }

  std::string written(size_t row, const std::string& option) const {
    if (!task_.at<Choice>().as) return option;
    std::string out;
    try {
      for (const Template::Piece& piece : task_.at<Choice>().as->pieces)
        out += piece.column.empty() ? piece.literal : apply_filters(option, piece.filters);
    } catch (const InputError& fault) {
      throw InputError(table_.at(row) + "an option: " + fault.what());
    }
    return out;
  }

  const Table& table_;
  const Task& task_;
  LabelUse use_;
  BoundPrompt prompt_;
  std::optional<size_t> options_, target_;
  std::vector<BoundTemplate> texts_;
};

}  // namespace

CellText text_of_row(const Template& text, const Table& table, const std::string& purpose) {
  if (text.text.find_first_of("{}") == std::string::npos) {
    const size_t column = table.column(text.text, purpose);
    return [&table, column](size_t row) { return text_cell(table, row, column); };
  }
  return [bound = BoundTemplate(text, table, purpose)](size_t row) { return bound.render(row); };
}

Filler generation_filler(const Table& table, const Task& task, LabelUse use) {
  return [rows = GenerationRows(table, task, use)](size_t row, Example& example) {
    rows.fill(row, example);
  };
}

Filler choice_filler(const Table& table, const Task& task, LabelUse use) {
  return [rows = ChoiceRows(table, task, use)](size_t row, Example& example) {
    rows.fill(row, example);
  };
}

Filler cloze_filler(const Table& table, const Task& task) {
  Template before, after;
  bool is_after = false;
  for (const Template::Piece& piece : task.cloze()->text.pieces) {
    if (piece.column == "mask") is_after = true;
    else (is_after ? after : before).pieces.push_back(piece);
  }
  // The templates live in shared memory: what is bound to them points at their pieces.
  struct Sides {
    Template before, after;
    std::optional<BoundTemplate> bound_before, bound_after;
  };
  const auto sides = std::make_shared<Sides>(Sides{std::move(before), std::move(after), {}, {}});
  const std::string purpose = "the cloze of task '" + task.name + "'";
  sides->bound_before.emplace(sides->before, table, purpose);
  sides->bound_after.emplace(sides->after, table, purpose);
  return [sides](size_t row, Example& example) {
    example.at<LabelledRow>().cloze = {{sides->bound_before->render(row), false},
                                       {"", true},
                                       {sides->bound_after->render(row), false}};
  };
}

}  // namespace detail

namespace {

// What a row asks: its prompt, and what acts on it beside.
std::string prompt_key(const Example& example) {
  const std::vector<Turn>& turns = example.at<GenerationRow>().turns;
  const bool is_answered = !turns.empty() && turns.back().role == "assistant";
  const size_t asked = is_answered ? turns.size() - 1 : turns.size();
  std::string key = example.text;
  for (size_t i = 0; i < asked; ++i) ((key += '\0') += turns[i].role + '\0') += turns[i].content;
  key += '\0';
  for (const int64_t row : example.subspace) (key += '\0') += std::to_string(row);
  key += '\0';
  for (const float number : example.embedding)
    (key += '\0') += std::to_string(std::bit_cast<uint32_t>(number));
  return key;
}

}  // namespace

std::vector<Example> join_references(std::vector<Example> examples, const Task& task) {
  const auto* generation = task.find<Generation>();
  if (generation == nullptr || !generation->group_references) return examples;
  std::vector<Example> joined;
  std::unordered_map<std::string, size_t> places;
  for (Example& example : examples) {
    const auto [place, is_new] = places.try_emplace(prompt_key(example), joined.size());
    if (is_new) {
      joined.push_back(std::move(example));
      continue;
    }
    std::vector<std::string>& references = joined[place->second].at<GenerationRow>().references;
    auto& more = example.at<GenerationRow>().references;
    references.insert(references.end(), std::make_move_iterator(more.begin()),
                      std::make_move_iterator(more.end()));
  }
  return joined;
}

}  // namespace graft
