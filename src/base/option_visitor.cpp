#include "base/option_visitor.h"

#include <algorithm>

namespace graft {

namespace {

constexpr int64_t kUnbounded = int64_t{1}
                               << 31;  // nobody gets there: a table need not say where it ends

// "8", "kaiming", "[attn.q, attn.v]"; "" in quotes.
std::string value_text(const Node& value) {
  if (value.kind == Node::Kind::kNull) return "unset";
  if (value.kind == Node::Kind::kScalar) return value.scalar.empty() ? "\"\"" : value.scalar;
  std::string out;
  for (const Node& item : value.items) out += (out.empty() ? "" : ", ") + value_text(item);
  return "[" + out + "]";
}

class Reader final : public OptionVisitor {
 public:
  explicit Reader(Options& options) : OptionVisitor(Purpose::kRead), options_(options) {}

  void option(const char*, const OptionForm& form, OptionHelp) override { form.read(options_); }

  void section(const char* key, const ShowOptions& show) override {
    read_shown(options_.section(key), show);
  }

 private:
  Options& options_;
};

class Writer final : public OptionVisitor {
 public:
  explicit Writer(Node& node) : OptionVisitor(Purpose::kWrite), node_(node) {}

  void option(const char* key, const OptionForm& form, OptionHelp) override {
    node_[key] = form.write();
  }

  void section(const char* key, const ShowOptions& show) override { node_[key] = written(show); }

 private:
  Node& node_;
};

class Lister final : public OptionVisitor {
 public:
  explicit Lister(std::vector<OptionRow>& rows) : OptionVisitor(Purpose::kList), rows_(rows) {}

  void option(const char* key, const OptionForm& form, OptionHelp help) override {
    const std::string usual = help.usual != nullptr ? help.usual : value_text(form.write());
    rows_.push_back({key, form.values, usual, help.meaning, form.limits});
  }

  void section(const char* key, const ShowOptions& show) override {
    for (OptionRow& row : listed(show)) {
      row.name = std::string(key) + "." + row.name;
      rows_.push_back(std::move(row));
    }
  }

 private:
  std::vector<OptionRow>& rows_;
};

}  // namespace

std::string limits_text(IntegerLimits limits) {
  const std::string least = std::to_string(limits.least);
  return limits.most >= kUnbounded ? least + " or more"
                                   : least + " to " + std::to_string(limits.most);
}

std::string limits_text(NumberLimits limits) {
  return Node::number(limits.least).scalar + " to " + Node::number(limits.most).scalar;
}

void OptionVisitor::integer(const char* key, int64_t& value, IntegerLimits limits,
                            OptionHelp help) {
  option(
      key,
      {.values = limits_text(limits),
       .read =
           [&](Options& options) {
             value = options.integer(key, value, limits.least, limits.most);
           },
       .write = [&] { return Node::integer(value); },
       .limits = NumberLimits{static_cast<double>(limits.least), static_cast<double>(limits.most)}},
      help);
}

void OptionVisitor::number(const char* key, double& value, NumberLimits limits, OptionHelp help) {
  option(
      key,
      {.values = limits_text(limits),
       .read =
           [&](Options& options) { value = options.number(key, value, limits.least, limits.most); },
       .write = [&] { return Node::number(value); },
       .limits = limits},
      help);
}

void OptionVisitor::optional_integer(const char* key, std::optional<int64_t>& value,
                                     IntegerLimits limits, OptionHelp help) {
  const auto read = [&](Options& options) {
    if (options.is_given(key)) value = options.integer(key, value, limits.least, limits.most);
  };
  const auto write = [&] { return value ? Node::integer(*value) : Node::null(); };
  option(key, {limits_text(limits), read, write}, help);
}

void OptionVisitor::optional_number(const char* key, std::optional<double>& value,
                                    NumberLimits limits, OptionHelp help) {
  const auto read = [&](Options& options) {
    if (options.is_given(key)) value = options.number(key, value, limits.least, limits.most);
  };
  const auto write = [&] { return Node::number_or_null(value); };
  option(key, {limits_text(limits), read, write}, help);
}

void OptionVisitor::number_or(const char* word, const char* key, std::optional<double>& value,
                              NumberLimits limits, OptionHelp help) {
  const auto read = [&](Options& options) {
    if (options.is_given(key) && options.raw(key)->scalar != word)
      value = options.number(key, value, limits.least, limits.most);
  };
  const auto write = [&] { return value ? Node::number(*value) : Node::text(word); };
  option(key, {limits_text(limits) + ", " + word, read, write}, help);
}

void OptionVisitor::boolean(const char* key, bool& value, OptionHelp help) {
  option(key,
         {.values = "true, false",
          .read = [&](Options& options) { value = options.boolean(key, value); },
          .write = [&] { return Node::boolean(value); }},
         help);
}

void OptionVisitor::text(const char* key, std::string& value, OptionHelp help) {
  option(key,
         {.values = "a text",
          .read = [&](Options& options) { value = options.text(key, value); },
          .write = [&] { return Node::text(value); }},
         help);
}

void OptionVisitor::texts(const char* key, std::vector<std::string>& value, OptionHelp help) {
  option(key,
         {.values = "a text, or a list",
          .read = [&](Options& options) { value = options.texts(key, value); },
          .write = [&] { return Node::texts(value); }},
         help);
}

void OptionVisitor::integers(const char* key, std::vector<int64_t>& value, IntegerLimits limits,
                             OptionHelp help) {
  option(key,
         {.values = limits.least <= -kUnbounded ? "integers" : "integers, " + limits_text(limits),
          .read =
              [&](Options& options) {
                value = options.integers(key, value, limits.least, limits.most);
              },
          .write = [&] { return Node::integers(value); }},
         help);
}

std::string OptionVisitor::joined_words(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

// Where true and false are among the words, none is quoted in a document.
Node OptionVisitor::word_node(const std::string& word, const std::vector<std::string>& words) {
  const bool has_truth_values = std::find(words.begin(), words.end(), "true") != words.end();
  return has_truth_values ? Node::plain(word) : Node::text(word);
}

void read_shown(Options& options, const ShowOptions& show) {
  Reader reader(options);
  show(reader);
}

Node written(const ShowOptions& show) {
  Node node = Node::map();
  Writer writer(node);
  show(writer);
  return node;
}

std::vector<OptionRow> listed(const ShowOptions& show) {
  std::vector<OptionRow> rows;
  Lister lister(rows);
  show(lister);
  return rows;
}

}  // namespace graft
