// Rows of a table as examples of a choice: which options a row offers, and which of them is right.
#include <algorithm>

#include "base/document.h"
#include "base/error.h"
#include "base/wording.h"
#include "data/bound_template.h"
#include "data/cells.h"
#include "data/inner_columns.h"

namespace graft::detail {

namespace {

struct Offer {
  std::vector<std::string> options;
  std::vector<std::string> names;  // of each option, where the row gives them some; else none
};

// [{"text": ..., "label": "A"}, ...].
Offer listed_offer(const Node& list, const std::string& at) {
  Offer out;
  for (const Node& item : list.items) {
    const Node *text = item.kind == Node::Kind::kMap ? item.find("text") : nullptr,
               *name = text != nullptr ? item.find("label") : nullptr;
    if (name == nullptr || !text->is_string || !name->is_string)
      throw InputError(at + "expected a list of texts, or of objects whose text and label are " +
                       "texts, found " + to_json(item, -1));
    out.options.push_back(text->scalar);
    out.names.push_back(name->scalar);
  }
  return out;
}

// A list of texts; or as the authors of ARC, OpenBookQA and CommonsenseQA have them, of objects
// {text, label}; or as Hugging Face's data sets have these, {"text": [...], "label": ["A", ...]};
// or as MedQA's authors have it, {"A": text, ...}.
Offer offer_cell(const Table& table, size_t row, size_t column) {
  const std::string& cell = table.rows[row].cells[column];
  const bool is_object = table.rows[row].kind(column) == CellKind::kTree && cell.starts_with('{');
  const std::string at = cell_at(table, row, column);
  if (!is_object) {
    const Node list = list_cell(table, row, column, "a list of texts");
    const bool has_objects = !list.items.empty() && list.items[0].kind == Node::Kind::kMap;
    return has_objects ? listed_offer(list, at) : Offer{texts_of(list, at), {}};
  }
  const Node object = tree_cell(table, row, column);
  const auto is_list = [&](const char* key) {
    const Node* node = object.find(key);
    return node != nullptr && node->kind == Node::Kind::kList;
  };
  Offer out;
  if (is_list("text") && is_list("label")) {
    out = {texts_of(*object.find("text"), at), texts_of(*object.find("label"), at)};
    if (out.options.size() != out.names.size())
      throw InputError(at + "expected as many labels as texts, found " +
                       std::to_string(out.names.size()) + " and " +
                       std::to_string(out.options.size()));
    return out;
  }
  for (const auto& [name, text] : object.members) {
    if (!text.is_string)
      throw InputError(at + "expected a list of texts, an object of two lists text and label, or " +
                       "one with a text for each name, found " + to_json(text, -1) + " at " +
                       quote(name));
    out.names.push_back(name);
    out.options.push_back(text.scalar);
  }
  return out;
}

// The only place of `cell`; nothing where there is none. Throws InputError where there are two.
std::optional<int64_t> place_in(const std::vector<std::string>& texts, const std::string& cell,
                                const std::string& at) {
  const auto found = std::find(texts.begin(), texts.end(), cell);
  if (found == texts.end()) return std::nullopt;
  if (std::find(found + 1, texts.end(), cell) != texts.end())
    throw InputError(at + "the right option " + quote(cell) +
                     " appears twice among the options; give its index");
  return found - texts.begin();
}

// 2 of "C" and "c".
std::optional<int64_t> letter_index(const std::string& cell) {
  if (cell.size() != 1) return std::nullopt;
  if (cell[0] >= 'A' && cell[0] <= 'Z') return cell[0] - 'A';
  if (cell[0] >= 'a' && cell[0] <= 'z') return cell[0] - 'a';
  return std::nullopt;
}

// The index of the option that a cell counts to, of so many.
int64_t place_counted(TargetForm form, const std::string& cell, int64_t options,
                      const std::string& at) {
  const bool is_letter = form == TargetForm::kLetter;
  const int64_t first = form == TargetForm::kNumber ? 1 : 0;
  const std::optional<int64_t> place = is_letter ? letter_index(cell) : whole_number(cell);
  if (place && *place >= first && *place - first < options) return *place - first;
  const auto shown = [&](int64_t index) {
    return is_letter ? std::string(1, static_cast<char>('A' + std::min<int64_t>(index, 25)))
                     : std::to_string(first + index);
  };
  throw InputError(at + "expected an option's " +
                   (is_letter    ? "letter"
                    : first == 1 ? "number"
                                 : "index") +
                   " in " + shown(0) + ".." + shown(options - 1) + ", found " + quote(cell));
}

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
    const Offer offer = offer_of(row);
    if (offer.options.size() < 2)
      throw InputError(table_.at(row) + "expected at least two options, found " +
                       std::to_string(offer.options.size()));
    const bool is_there =
        target_ && !is_absent(table_, row, *target_) &&
        (use_ == LabelUse::kRequired || !table_.rows[row].cells[*target_].empty());
    if (is_there || use_ == LabelUse::kRequired)
      example.label = static_cast<double>(right_option(row, offer));
    for (const std::string& option : offer.options) own.options.push_back(written(row, option));
  }

 private:
  Offer offer_of(size_t row) const {
    const OptionSource& source = task_.at<Choice>().options;
    if (options_ && source.separator.empty()) return offer_cell(table_, row, *options_);
    Offer out;
    for (const BoundTemplate& text : texts_) out.options.push_back(text.render(row));
    if (!options_) return out;
    const std::string& cell = text_cell(table_, row, *options_);
    const size_t at = source.after.empty() ? 0 : cell.rfind(source.after);
    if (at == std::string::npos)
      throw InputError(cell_at(table_, row, *options_) + "expected options after " +
                       quote(source.after) + ", found none");
    for (size_t begin = at + source.after.size(); begin <= cell.size();) {
      const size_t end = std::min(cell.find(source.separator, begin), cell.size());
      out.options.push_back(cell.substr(begin, end - begin));
      begin = end + source.separator.size();
    }
    return out;
  }

  int64_t right_option(size_t row, const Offer& offer) const {
    const std::string at = cell_at(table_, row, *target_);
    const CellKind kind = table_.rows[row].kind(*target_);
    const std::string& cell = table_.rows[row].cells[*target_];
    if (kind != CellKind::kText && kind != CellKind::kNumber)
      throw InputError(at + "expected an option, its name or its place, found " + kind_shown(kind) +
                       inner_names_hint(table_, *target_));
    TargetForm form = task_.at<Choice>().target_form;
    if (form == TargetForm::kByCell)
      form =
          kind == CellKind::kNumber && offer.names.empty() ? TargetForm::kIndex : TargetForm::kText;
    if (form != TargetForm::kText) return place_counted(form, cell, std::ssize(offer.options), at);
    if (const auto named = place_in(offer.names, cell, at)) return *named;
    if (const auto found = place_in(offer.options, cell, at)) return *found;
    throw InputError(at + "expected one of the options, found " + quote(cell) +
                     did_you_mean(cell, offer.options) + "; here are " +
                     joined_first(offer.options, 10));
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

Filler choice_filler(const Table& table, const Task& task, LabelUse use) {
  return [rows = ChoiceRows(table, task, use)](size_t row, Example& example) {
    rows.fill(row, example);
  };
}

}  // namespace graft::detail
