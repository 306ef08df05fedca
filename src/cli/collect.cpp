// graft collect: rows with a vector each, of what the model computes of their text.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/error.h"
#include "base/output_file.h"
#include "base/printable.h"
#include "base/wording.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/prediction_rows.h"
#include "cli/states.h"
#include "data/row_writer.h"
#include "infer/records.h"
#include "train/out_of_memory.h"

namespace graft {

namespace {

struct CollectFlags {
  StateFlags states;
  std::string out, format, column = "embedding";
};

// What `format` cannot hold is told before anything is computed.
void check_cells(const Table& table, const std::vector<std::string>& header, TableFormat format) {
  if (format != TableFormat::kTsv) return;
  for (const std::string& name : header) delimited_cell(name, format, "the header: ");
  for (size_t r = 0; r < table.rows.size(); ++r) {
    for (const std::string& cell : table.rows[r].cells) delimited_cell(cell, format, table.at(r));
  }
}

int collect(const CollectFlags& flags) {
  check_not_rows("--out", flags.out, flags.states.data);
  const TableFormat format = written_format(flags.out, flags.format);
  check_writable(flags.out);
  const AskedStates asked = read_asked_states(flags.states, LabelUse::kOptional);
  const Table& table = asked.table;
  if (table.find_column(flags.column))
    throw InputError("--column: " + table.source + " has a column " + quote(flags.column) +
                     " already; name another");
  std::vector<std::string> header = table.columns;
  header.push_back(flags.column);
  check_cells(table, header, format);
  const at::Tensor states = compute_states(asked);
  OutputFile file(flags.out);
  RowWriter writer(file, format, header);
  for (size_t r = 0; r < table.rows.size(); ++r) {
    Node row = Node::map();
    for (size_t c = 0; c < table.columns.size(); ++c)
      row[table.columns[c]] = cell_node(table, r, c);
    row[flags.column] = number_list(states[static_cast<int64_t>(r)]);
    writer.write(row, table.at(r));
  }
  writer.finish();
  std::fprintf(messages_beside({flags.out}), "%s %s with %s numbers each in %s\n",
               count_text(writer.num_rows()).c_str(), plural(writer.num_rows(), "row").c_str(),
               count_text(states.size(1)).c_str(), bare_name(flags.out).c_str());
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace

void add_collect(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "collect", "Write rows with a vector each: what leaves sites of the model for their text");
  auto flags = std::make_shared<CollectFlags>();
  add_states(*command, flags->states);
  add_written_rows(*command, flags->out, flags->format)->required();
  command->add_option("--column", flags->column,
                      "name of the vector's column (default: embedding)");
  command->footer(
      "Examples:\n  graft collect --model models/minilm --task sources.yaml --data pairs.jsonl "
      "--sites out --layers 3 --positions f1 --out with_sources.jsonl\n"
      "  graft collect --model models/minilm --task sst2 --data train.tsv --positions all --out "
      "embedded.jsonl\n"
      "The first reads, for an edit of kind interchange, what leaves block 3 at the first token of "
      "the source texts; the second\n"
      "makes an embedding of each text, the mean over its tokens, for a router.");
  command->callback([flags, &action] {
    action = [flags] {
      return with_memory_need({0, "Give --precision bf16"}, [&] { return collect(*flags); });
    };
  });
}

}  // namespace graft
