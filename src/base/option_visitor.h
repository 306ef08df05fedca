// Options that are declared once. A struct holds them with their defaults and shows each to a
// visitor: its name, what it may be and what it is for. One visitor reads a document into the
// struct, one writes the document, one lists what there is.
//
//   struct LoraOptions {
//     int64_t rank = 8;
//     LoraInit init = LoraInit::kKaiming;
//
//     void visit(OptionVisitor& v) {
//       v.integer("rank", rank, {1, 4096}, "width R of the update");
//       v.choice("init", init, kLoraInits, "how A is drawn");
//     }
//   };
//
//   const auto lora = read_options(options, LoraOptions{});   // faults go into `options`
//   options_node(lora)           // {rank: 8, init: kaiming}; read_options gives an equal struct
//   option_rows(LoraOptions{})   // for tables
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/document.h"
#include "base/names.h"
#include "base/options.h"

namespace graft {

struct IntegerLimits {
  int64_t least, most;
};
struct NumberLimits {
  double least, most;
};

// "1 to 4096", for tables.
std::string limits_text(IntegerLimits limits);
std::string limits_text(NumberLimits limits);

struct OptionHelp {
  OptionHelp(const char* says, const char* shown = nullptr) : meaning(says), usual(shown) {}

  const char* meaning;
  // What a table shows for the default, where that depends on the model or on other options.
  const char* usual;
};

// How an option is read from a document and written to one.
struct OptionForm {
  std::string values;  // for tables: "1 to 4096"
  std::function<void(Options&)> read;
  std::function<Node()> write;
  std::optional<NumberLimits> limits = {};  // of a number
};

class OptionVisitor;
using ShowOptions = std::function<void(OptionVisitor&)>;

class OptionVisitor {
 public:
  enum class Purpose { kRead, kWrite, kList };

  virtual ~OptionVisitor() = default;

  // The one that the others are made of: for an option whose values have a form of their own.
  virtual void option(const char* key, const OptionForm& form, OptionHelp help) = 0;
  virtual void section(const char* key, const ShowOptions& show) = 0;

  void integer(const char* key, int64_t& value, IntegerLimits limits, OptionHelp help);
  void number(const char* key, double& value, NumberLimits limits, OptionHelp help);
  // Unset where the document has nothing, or null.
  void optional_integer(const char* key, std::optional<int64_t>& value, IntegerLimits limits,
                        OptionHelp help);
  void optional_number(const char* key, std::optional<double>& value, NumberLimits limits,
                       OptionHelp help);
  // A number, or the word that stands for none.
  void number_or(const char* word, const char* key, std::optional<double>& value,
                 NumberLimits limits, OptionHelp help);
  void boolean(const char* key, bool& value, OptionHelp help);
  void text(const char* key, std::string& value, OptionHelp help);
  void texts(const char* key, std::vector<std::string>& value, OptionHelp help);
  void integers(const char* key, std::vector<int64_t>& value, IntegerLimits limits,
                OptionHelp help);

  template <class E, size_t N>
  void choice(const char* key, E& value, const Name<E> (&names)[N], OptionHelp help) {
    option(key,
           {.values = joined_words(words_of(names)),
            .read = [&](Options& options) { value = options.choice(key, value, names); },
            .write = [&] { return word_node(word_of(names, value), words_of(names)); }},
           help);
  }

  bool writes() const { return purpose_ == Purpose::kWrite; }
  // For options that only some documents have: a list shows them all.
  bool applies(bool condition) const { return condition || purpose_ == Purpose::kList; }

 protected:
  explicit OptionVisitor(Purpose purpose) : purpose_(purpose) {}

 private:
  static std::string joined_words(const std::vector<std::string>& words);
  static Node word_node(const std::string& word, const std::vector<std::string>& words);

  Purpose purpose_;
};

// A line of a table of options.
struct OptionRow {
  std::string name;  // "data.rows" in a section
  std::string values;
  std::string usual;  // the default
  std::string meaning;
  std::optional<NumberLimits> limits = {};  // of a number
};

void read_shown(Options& options, const ShowOptions& show);
Node written(const ShowOptions& show);
std::vector<OptionRow> listed(const ShowOptions& show);

// `values` where the document is silent.
template <class T>
T read_options(Options& options, T values) {
  read_shown(options, [&](OptionVisitor& v) { values.visit(v); });
  return values;
}

template <class T>
Node options_node(T values) {
  return written([&](OptionVisitor& v) { values.visit(v); });
}

template <class T>
std::vector<OptionRow> option_rows(T values) {
  return listed([&](OptionVisitor& v) { values.visit(v); });
}

}  // namespace graft
