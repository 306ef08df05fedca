// Rows of a table as examples of a generation or a cloze.
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

std::string group_of(const Table& table, size_t row, const Task& task) {
  const std::optional<std::string>& group = task.prompted()->group_column;
  const std::optional<size_t> column = group ? table.find_column(*group) : std::nullopt;
  return column && !is_absent(table, row, *column) ? text_cell(table, row, *column) : task.name;
}

namespace {

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
