#include "data/proposer.h"

#include <algorithm>

#include "base/document.h"
#include "base/error.h"
#include "base/wording.h"
#include "data/cells.h"
#include "data/inner_columns.h"
#include "data/usual_paths.h"

namespace graft::detail {

namespace {

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_text(const Column& column) { return column.is_text(); }

bool is_prose(const Column& column) { return column.is_text() && !column.is_number(); }

bool are_prose(const Column& a, const Column& b) { return is_prose(a) && is_prose(b); }

// Whether `fits` holds of the first list or object of a column.
template <class Fits>
bool first_tree_fits(const Column& column, const Fits& fits) {
  if (column.first_tree.empty()) return false;
  try {
    return fits(parse_json(column.first_tree, "a cell"));
  } catch (const InputError&) {  // beyond what is read of a tree
    return false;
  }
}

bool are_all_texts(const Node& list) {
  return list.kind == Node::Kind::kList &&
         std::all_of(list.items.begin(), list.items.end(),
                     [](const Node& item) { return item.is_string; });
}

bool holds_turns(const Column& column) {
  return first_tree_fits(column, [](const Node& list) {
    if (list.kind != Node::Kind::kList || list.items.front().kind != Node::Kind::kMap) return false;
    const Node& turn = list.items.front();
    return (turn.find("role") != nullptr && turn.find("content") != nullptr) ||
           (turn.find("from") != nullptr && turn.find("value") != nullptr);
  });
}

// Lists of texts, lists of objects {text, label}, objects of two such lists, or of texts by their
// names.
bool holds_options(const Column& column) {
  const auto are_options = [](const Node& list) {
    return list.kind == Node::Kind::kList && list.items.size() >= 2 &&
           std::all_of(list.items.begin(), list.items.end(), [](const Node& item) {
             const bool is_object = item.kind == Node::Kind::kMap;
             return item.is_string ||
                    (is_object && item.find("text") != nullptr && item.find("label") != nullptr);
           });
  };
  return first_tree_fits(column, [&](const Node& tree) {
    if (tree.kind != Node::Kind::kMap) return are_options(tree);
    const Node *texts = tree.find("text"), *names = tree.find("label");
    if (texts != nullptr && names != nullptr) return are_options(*texts);
    return tree.members.size() >= 2 &&
           std::all_of(tree.members.begin(), tree.members.end(),
                       [](const auto& member) { return member.second.is_string; });
  });
}

constexpr const char* kBetweenWords = "_-. ";

// "label" of "gold_label".
std::string last_word(const std::string& name) {
  return name.substr(name.find_last_of(kBetweenWords) + 1);
}

bool has_word(std::span<const std::string_view> words, const std::string& name) {
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find_first_of(kBetweenWords, begin), name.size());
    if (is_one_of(words, std::string_view(name).substr(begin, end - begin))) return true;
    begin = end + 1;
  }
  return false;
}

// By its cells: values that come again, or amounts.
bool may_be_label(const Column& column) {
  return column.is_label() || (column.is_number() && column.fractions > 0);
}

bool is_value(const Column& column) { return column.is_number() || column.is_label(); }

const std::string& first_cell(const Column& column) {
  return column.groups.front().spellings.front().text;
}

}  // namespace

Proposer::Proposer(const Table& file) : file_(file) {
  const std::optional<Table> opened = with_inner_columns(file, usual_paths(file));
  const Table& table = opened ? *opened : file;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    columns_.push_back(column_of(table, i));
    names_.push_back(folded(table.columns[i]));
  }
  id_ = first_named(kIdNames, [](const Column& column) {
    return static_cast<int64_t>(column.groups.size()) == column.rows;
  });
}

const Column* Proposer::named(std::string_view name) const {
  const auto found = std::find(names_.begin(), names_.end(), name);
  return found == names_.end() ? nullptr : &columns_[static_cast<size_t>(found - names_.begin())];
}

template <class Fits>
const Column* Proposer::first_named(std::span<const std::string_view> names,
                                    const Fits& fits) const {
  for (const std::string_view name : names) {
    if (const Column* column = named(name); column != nullptr && fits(*column)) return column;
  }
  return nullptr;
}

template <class Fits>
const Column* Proposer::first_ending(std::span<const std::string_view> words,
                                     const Fits& fits) const {
  for (const Column& column : columns_) {
    if (is_one_of(words, last_word(names_[column.index])) && fits(column)) return &column;
  }
  return nullptr;
}

template <class Fits>
Proposer::Pair Proposer::first_pair(std::span<const NamePair> names, const Fits& fits) const {
  for (const NamePair& pair : names) {
    const Column *a = named(pair.first), *b = named(pair.second);
    if (a != nullptr && b != nullptr && fits(*a, *b)) return std::pair{a, b};
  }
  return std::nullopt;
}

bool Proposer::is_named_label(const Column& column) {
  return is_one_of(kLabelNames, last_word(folded(column.name)));
}

const Column* Proposer::named_label() const {
  if (const Column* column = first_named(kLabelNames, may_be_label)) return column;
  return first_ending(kLabelNames, may_be_label);
}

const Column* Proposer::named_value() const {
  if (const Column* column = first_named(kValueNames, is_value)) return column;
  return first_ending(kRatingWords, is_value);
}

const Column* Proposer::label_by_name() const {
  if (const Column* column = first_named(kLabelNames, may_be_label)) return column;
  if (const Column* column = first_named(kTopicNames, may_be_label)) return column;
  if (const Column* column = first_ending(kLabelNames, may_be_label)) return column;
  return named_value();
}

std::vector<const Column*> Proposer::guessed_labels() const {
  const bool has_few = file_.columns.size() - (id_ != nullptr ? 1 : 0) <= 2;
  std::vector<const Column*> out;
  for (const Column& column : columns_) {
    const std::string& name = names_[column.index];
    const std::string last = last_word(name);
    const bool is_key = (is_one_of(kKeyWords, last) || is_one_of(kIdNames, last)) &&
                        !has_word(kLabelNames, name) && !has_word(kTopicNames, name);
    const bool is_beside = !has_few && (is_key || is_one_of(kBesideNames, name));
    if (&column != id_ && column.is_label() && !is_beside && !is_inner(column))
      out.push_back(&column);
  }
  std::stable_sort(out.begin(), out.end(), [](const Column* a, const Column* b) {
    return a->groups.size() < b->groups.size();
  });
  return out;
}

const Column* Proposer::label() const {
  if (const Column* column = label_by_name()) return column;
  const std::vector<const Column*> guessed = guessed_labels();
  return guessed.empty() ? first_ending(kValueNames, is_value) : guessed.front();
}

std::vector<const Column*> Proposer::other_labels() const {
  std::vector<const Column*> out = guessed_labels();
  if (out.empty() || label_by_name() != nullptr) return {};
  out.erase(out.begin());
  return out;
}

const Column* Proposer::text(const Column& label) const {
  const auto may_be = [&](const Column& column) {
    return &column != &label && column.is_text() && !is_inner(column);
  };
  if (const Column* column = first_named(kTextNames, may_be)) return column;
  const Pair answered = first_pair(kPromptPairs, [&](const Column& prompt, const Column& target) {
    return may_be(prompt) && may_be(target);
  });
  if (answered) return answered->first;  // of the two a label tells of what was asked
  const Column* longest = nullptr;
  for (const Column& column : columns_) {
    if (&column == id_ || !may_be(column)) continue;
    if (longest == nullptr || column.characters > longest->characters) longest = &column;
  }
  const bool is_named_text =
      longest != nullptr && is_one_of(kTextWords, last_word(names_[longest->index]));
  const Column* late = is_named_text ? nullptr : first_named(kLateTextNames, may_be);
  return late != nullptr ? late : longest;
}

Proposer::Pair Proposer::texts(const Column& label) const {
  const auto are_free = [&](const Column& a, const Column& b) {
    return are_prose(a, b) && &a != &label && &b != &label;
  };
  for (const std::string_view stem : kTextStems) {
    for (const NamePair& marks : kTextMarks) {
      const std::string first = std::string(stem) + std::string(marks.first),
                        second = std::string(stem) + std::string(marks.second);
      const NamePair counted[] = {{first, second}};
      if (const Pair pair = first_pair(counted, are_free)) return pair;
    }
  }
  if (const Pair pair = first_pair(kTextPairs, are_free)) return pair;
  const Pair titled = first_pair(kTitlePairs, [&](const Column& title, const Column& text) {
    return are_free(title, text) && title.absent + text.absent == 0;
  });
  // What an intent or a category tells of is the text alone.
  const bool is_judged = folded(label.name) == "label" || folded(label.name) == "labels";
  return titled || !is_judged ? titled : first_pair(kPromptPairs, are_free);
}

Proposer::Pair Proposer::prompt() const {
  const auto is_told = [](const Column& prompt, const Column& target) {
    return is_prose(prompt) && target.is_text();
  };
  if (const Pair pair = first_pair(kPromptPairs, is_told)) return pair;
  if (named_label() != nullptr || named_value() != nullptr) return std::nullopt;
  return first_pair(kSummaryPairs, [](const Column& text, const Column& summary) {
    return are_prose(text, summary) && !summary.is_label();
  });
}

std::optional<Proposer::Answered> Proposer::answered() const {
  for (const AnswerPaths& paths : kAnswerPaths) {
    const Column *prompt = named(paths.prompt), *target = named(paths.target),
                 *references = named(paths.references);
    if (prompt == nullptr || target == nullptr || !is_prose(*prompt) || !target->is_text())
      continue;
    const bool are_texts = references != nullptr && first_tree_fits(*references, are_all_texts);
    return Answered{prompt, target, are_texts ? references : nullptr};
  }
  return std::nullopt;
}

Proposer::Pair Proposer::translation() const {
  const std::string outer = std::string(kLanguagesName) + ".";
  std::vector<const Column*> found;
  for (const Column& column : columns_) {
    const bool is_language = is_inner(column) && names_[column.index].starts_with(outer);
    if (is_language && is_prose(column)) found.push_back(&column);
  }
  return found.size() < 2 ? Pair() : std::pair{found[0], found[1]};
}

Proposer::Pair Proposer::turns_and_target() const {
  return first_pair(kPromptPairs, [](const Column& prompt, const Column& target) {
    return holds_turns(prompt) && (holds_turns(target) || target.is_text());
  });
}

const Column* Proposer::context(const Column& prompt) const {
  const std::string name = folded(prompt.name);
  if (is_one_of(kPassageNames, name)) return nullptr;
  return name == "instruction" ? first_named(kInputNames, is_text)
                               : first_named(kPassageNames, is_text);
}

const Column* Proposer::system() const { return first_named(kSystemNames, is_text); }

std::vector<const Column*> Proposer::counted_on(std::string_view stem, size_t least) const {
  const auto from = [&](const std::string& before, int64_t first, bool is_letter) {
    std::vector<const Column*> found;
    for (int64_t i = first;; ++i) {
      const std::string mark =
          is_letter ? std::string(1, static_cast<char>('a' + i)) : std::to_string(i);
      const Column* column = named(before + mark);
      if (column == nullptr || !column->is_text()) return found;
      found.push_back(column);
    }
  };
  for (const std::string_view between : kBetween) {
    const std::string before = std::string(stem) + std::string(between);
    for (const int64_t first : {0, 1}) {
      if (auto found = from(before, first, false); found.size() >= least) return found;
    }
    if (auto found = from(before, 0, true); found.size() >= least) return found;
  }
  return {};
}

std::vector<const Column*> Proposer::options() const {
  if (const Column* list = first_named(kOptionListNames, holds_options)) return {list};
  for (const std::string_view stem : kOptionStems) {
    const size_t least = stem.empty() ? 3 : 2;  // a and b alone may be names of anything
    const std::vector<const Column*> found = counted_on(stem, least);
    const auto all = [&](const auto& is) {
      return std::all_of(found.begin(), found.end(), [&](const Column* c) { return is(*c); });
    };
    // Votes and measurements are counted, too.
    const bool are_values = all([](const Column& c) { return c.is_number(); }) ||
                            all([](const Column& c) { return c.is_label(); });
    if (!found.empty() && !are_values) return found;
  }
  return {};
}

std::optional<Proposer::Asked> Proposer::choice() const {
  Asked out{nullptr, options(), nullptr};
  const auto is_free = [&](const Column& column) {
    return column.is_text() && &column != out.right &&
           std::find(out.options.begin(), out.options.end(), &column) == out.options.end();
  };
  if (!out.options.empty()) {
    out.right = first_named(kRightNames, is_free);
  } else {
    for (const std::string_view stem : kWrongStems) {
      if (out.options.empty()) out.options = counted_on(stem, 1);
    }
    out.right = out.options.empty() ? nullptr : first_named(kRightTextNames, is_free);
    if (out.right != nullptr) out.options.insert(out.options.begin(), out.right);
  }
  if (out.right == nullptr) return std::nullopt;
  out.question = first_named(kQuestionNames, is_free);
  return out.question == nullptr ? std::nullopt : std::optional(out);
}

const Column* Proposer::messages() const {
  const Column* column = named("messages");
  return column != nullptr && column->trees > 0 ? column : nullptr;
}

const Column* Proposer::turns() const {
  if (const Column* column = messages()) return column;
  const auto found = std::find_if(columns_.begin(), columns_.end(), holds_turns);
  return found == columns_.end() ? nullptr : &*found;
}

bool Proposer::is_chat() const {
  const Column* column = turns();
  if (column == nullptr) return false;
  const bool is_named_so = column->name == "messages" || column->name == "conversations";
  const auto any = [](const Column&) { return true; };
  return is_named_so ||
         (first_named(kLabelNames, any) == nullptr && first_named(kTopicNames, any) == nullptr);
}

void Proposer::refuse() const {
  std::string message =
      file_.source +
      ": no column can be told to be a label (a few values that come again) beside a text:";
  for (const Column& column : columns_) {
    if (is_inner(column)) continue;
    message += "\n  " + quote(column.name) + ": " +
               count_text(static_cast<int64_t>(column.groups.size())) + " values in " +
               counted(column.rows, "row");
    if (!column.groups.empty())
      message += ", such as " + quote(first_cell(column)) + decimal_point_hint(first_cell(column));
  }
  throw InputError(message + "\nwrite the task by hand: doc/data.md has every key");
}

}  // namespace graft::detail
