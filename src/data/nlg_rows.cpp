// The files of E2E (Novikova et al. 2017), WebNLG 2017 (Gardent et al.) and DART (Nan et al. 2021):
// one row a text, the data before it on one line as AdaMix and LoRA's code writes it: "slot : value
// | slot : value", "subject : property : object | ...".
#include "base/document.h"
#include "base/error.h"
#include "data/rows.h"
#include "data/text_words.h"

namespace graft::detail {

namespace {

// "source:line:column: " of a node.
std::string at_node(const std::string& source, const Node& node) {
  return source + ":" + std::to_string(node.line) + ":" + std::to_string(node.column) + ": ";
}

[[noreturn]] void refuse(const std::string& source, const Node& node, const std::string& wanted) {
  const std::string found = node.kind == Node::Kind::kScalar ? quote(node.scalar)
                            : node.kind == Node::Kind::kList ? "a list"
                            : node.kind == Node::Kind::kMap  ? "an object"
                                                             : "null";
  throw InputError(at_node(source, node) + "expected " + wanted + ", found " + found);
}

const std::vector<Node>& items_of(const std::string& source, const Node& node,
                                  const std::string& wanted) {
  if (node.kind != Node::Kind::kList) refuse(source, node, wanted);
  return node.items;
}

const Node& member(const std::string& source, const Node& node, const char* key) {
  if (node.kind != Node::Kind::kMap) refuse(source, node, std::string("an object with ") + key);
  const Node* found = node.find(key);
  if (found == nullptr)
    throw InputError(at_node(source, node) + "expected the key " + quote(key) + ", found none");
  return *found;
}

const std::string& text_of(const std::string& source, const Node& node) {
  if (node.kind != Node::Kind::kScalar) refuse(source, node, "a text");
  if (node.scalar.find('\0') != std::string::npos)
    throw InputError(at_node(source, node) + "a text holds the character \\u0000");
  return node.scalar;
}

void add_triple(std::string& input, const std::string& subject, const std::string& property,
                const std::string& object) {
  input += (input.empty() ? "" : " | ") + subject + " : " + property + " : " + object;
}

Table table_of(const std::string& source, const char* third) {
  Table table;
  table.source = source;
  table.columns = {"input", "target"};
  if (third != nullptr) table.columns.emplace_back(third);
  return table;
}

void finish(const Table& table) {
  if (table.rows.empty()) throw InputError(table.source + ": expected rows, found none");
}

// The subject, property and object of every triple of the modified set.
std::string webnlg_input(const std::string& source, const Node& entry) {
  std::string input;
  for (const Node& triple :
       items_of(source, member(source, entry, "modifiedtripleset"), "a list of triples")) {
    const auto part = [&](const char* key) -> const std::string& {
      return text_of(source, member(source, triple, key));
    };
    const std::string &subject = part("subject"), &property = part("property"),
                      &object = part("object");
    add_triple(input, subject, property, object);
  }
  return input;
}

}  // namespace

// A line is data||text, divided at the first "||".
Table parse_e2e(std::string_view text, const std::string& source) {
  Table table = table_of(source, nullptr);
  int64_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    if (only_blank_lines_follow(text, begin)) break;
    ++line;
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view row = text.substr(begin, end - begin);
    if (row.ends_with('\r')) row.remove_suffix(1);
    const size_t bars = row.find("||");
    if (bars == std::string_view::npos)
      throw InputError(source + ":" + std::to_string(line) + ": expected data||text, found " +
                       quote(row) + (row.empty() ? "; remove the blank line" : ""));
    table.rows.push_back(
        {{std::string(row.substr(0, bars)), std::string(row.substr(bars + 2))}, {}, line});
    begin = end + 1;
  }
  finish(table);
  return table;
}

// {"entries": [{"1": {...}}, ...]}: a row for each lexicalisation marked good; an entry without any
// lexicalisation, as in a test file to be written, is a row whose target is missing. One that has
// some, none of them good, is no row, as in released code: the published files hold such.
Table parse_webnlg(std::string_view text, const std::string& source) {
  Table table = table_of(source, "category");
  const Node root = parse_json(text, source);
  for (const Node& numbered :
       items_of(source, member(source, root, "entries"), "a list of entries")) {
    if (numbered.kind != Node::Kind::kMap || numbered.members.size() != 1)
      refuse(source, numbered, "an object with one numbered entry");
    const Node& entry = numbered.members.front().second;
    const std::string input = webnlg_input(source, entry),
                      category = text_of(source, member(source, entry, "category"));
    const Node& texts = member(source, entry, "lexicalisations");
    for (const Node& lexicalisation : items_of(source, texts, "a list of texts")) {
      if (text_of(source, member(source, lexicalisation, "comment")) != "good") continue;
      table.rows.push_back(
          {{input, text_of(source, member(source, lexicalisation, "lex")), category},
           {},
           lexicalisation.line});
    }
    if (texts.items.empty())
      table.rows.push_back({{input, "", category},
                            {CellKind::kText, CellKind::kMissing, CellKind::kText},
                            entry.line});
  }
  finish(table);
  return table;
}

// [{"tripleset": [[subject, relation, object], ...], "annotations": [{"text", "source"}, ...]},
// ...]: a row for each annotation; the relation in small letters. An entry without any is a row
// whose target is missing.
Table parse_dart(std::string_view text, const std::string& source) {
  Table table = table_of(source, "source");
  const Node root = parse_json(text, source);
  for (const Node& entry : items_of(source, root, "a list of objects")) {
    std::string input;
    for (const Node& triple :
         items_of(source, member(source, entry, "tripleset"), "a list of triples")) {
      if (triple.kind != Node::Kind::kList || triple.items.size() != 3)
        refuse(source, triple, "a list of subject, relation and object");
      add_triple(input, text_of(source, triple.items[0]),
                 lower_text(text_of(source, triple.items[1])), text_of(source, triple.items[2]));
    }
    const Node& annotations = member(source, entry, "annotations");
    for (const Node& annotation : items_of(source, annotations, "a list of texts")) {
      table.rows.push_back({{input, text_of(source, member(source, annotation, "text")),
                             text_of(source, member(source, annotation, "source"))},
                            {},
                            annotation.line});
    }
    if (annotations.items.empty())
      table.rows.push_back(
          {{input, "", ""}, {CellKind::kText, CellKind::kMissing, CellKind::kMissing}, entry.line});
  }
  finish(table);
  return table;
}

}  // namespace graft::detail
