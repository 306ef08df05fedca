#include "cli/row_output.h"

#include <ATen/Parallel.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>

#include "base/descriptors.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/printable.h"
#include "base/version.h"
#include "base/wording.h"
#include "data/row_stream.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

constexpr off_t kReadWhole = off_t{64} << 20;  // a file up to this is known by its content

Node to_node(const RowOutput::State& state) {
  return Node::map({{"rows", Node::integer(state.num_read)},
                    {"answered", Node::integer(state.num_answered)},
                    {"written", Node::integer(state.num_written)}});
}

RowOutput::State state_of(const Node& node) {
  const auto count = [&](const char* name) { return node.find_integer(name).value_or(0); };
  return {count("rows"), count("answered"), count("written")};
}

std::string content_digest(const Path& path) {
  const Descriptor file(open_for_reading(path));
  Sha256 hash;
  std::vector<char> buffer(size_t{1} << 20);
  while (const size_t got = read_some(file.get(), buffer.data(), buffer.size(), 0, path))
    hash.update({buffer.data(), got});
  return hash.digest();
}

// A text to compare: a large file is known by its size and time; "" where nothing is there.
std::string content_mark(const Path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return "";
  if (info.st_size <= kReadWhole) return content_digest(path);
  return sha256(std::to_string(info.st_size) + " bytes of " + std::to_string(info.st_mtim.tv_sec) +
                "." + std::to_string(info.st_mtim.tv_nsec));
}

// Of several files: their names with what is in them, in order.
std::string marks_of(const Path& folder, std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  Sha256 all;
  for (const std::string& name : names)
    all.update(name + "\n" + content_mark(folder / name) + "\n");
  return all.digest();
}

// The files of a model's folder, or its one file.
std::string model_mark(const std::string& model) {
  if (!fs::is_directory(model)) return content_mark(model);
  const std::vector<std::string> read = {".json", ".safetensors", ".model", ".txt"};
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(model)) {
    const bool is_read =
        std::find(read.begin(), read.end(), entry.path().extension().string()) != read.end();
    if (is_read && entry.is_regular_file()) names.push_back(entry.path().filename().string());
  }
  return marks_of(model, std::move(names));
}

std::string adapter_mark(const std::string& adapter) {
  return adapter.empty() ? "" : marks_of(adapter, {"adapter.json", "adapter.safetensors"});
}

}  // namespace

Node about_answers(const AnswerSources& sources) {
  const auto number = [](int64_t value) { return Node::text(std::to_string(value)); };
  Node about = Node::map(
      {{"the version of graft", Node::text(kVersionText)},
       {"what --model names", Node::text(model_mark(sources.model))},
       {"what --adapter names", Node::text(adapter_mark(sources.adapter))},
       {"the content of --data", Node::text(content_digest(sources.data))},
       {"the task", Node::text(sha256(to_json(task_to_node(*sources.task), -1)))},
       {"--precision", Node::text(word_of(kPrecisions, sources.precision))},
       {"--max-length", number(sources.max_length)},
       {"--threads",
        number(at::get_num_threads())},  // sums are made in another order by another count
       {"--format", Node::text(word_of(kTableFormats, sources.format))},
       {"--on-error", Node::text(on_error_name(sources.on_error))}});
  if (!sources.beside.empty()) {
    std::vector<std::string> marks;
    for (const std::string& adapter : sources.beside) marks.push_back(adapter_mark(adapter));
    about["what --beside names"] = Node::text(list_text(marks));
  }
  return about;
}

std::string list_text(const std::vector<std::string>& values) {
  return values.empty() ? "" : to_json(Node::texts(values), -1);
}

void check_resumable(const std::vector<std::string>& outputs, const std::string& data) {
  for (const std::string& out : outputs) {
    if (!out.empty() && takes_bytes_at_once(out))
      throw InputError("--resume: " + named(out) +
                       " keeps nothing to go on with; write to a file, or leave --resume out");
  }
  if (comes_in_pieces(data) || named_descriptor(data))
    throw InputError("--resume: the rows of --data " + named(data) +
                     " came once and are gone; name a file, or leave --resume out");
}

RowOutput::RowOutput(std::vector<std::string> paths, bool can_go_on, bool goes_on,
                     const std::function<Node()>& about)
    : paths_(std::move(paths)) {
  can_go_on = can_go_on && std::none_of(paths_.begin(), paths_.end(), [](const std::string& path) {
                return takes_bytes_at_once(path);
              });
  if (!can_go_on) {
    for (const std::string& path : paths_) plain_.push_back(std::make_unique<OutputFile>(path));
    return;
  }
  const bool is_there = has_kept_part(paths_.front());
  const auto start = goes_on ? KeptFiles::Start::kGoOn : KeptFiles::Start::kAnew;
  kept_.emplace(std::vector<Path>(paths_.begin(), paths_.end()), about(), start);
  if (kept_->state()) state_ = state_of(*kept_->state());
  if (goes_on && !state_)
    std::fprintf(stderr, "graft: --resume: nothing of %s is there; beginning with the first row\n",
                 named(paths_.front()).c_str());
  if (!goes_on && is_there)
    std::fprintf(stderr, "graft: %s was begun before and cut; beginning anew, without --resume\n",
                 named(paths_.front()).c_str());
}

OutputFile& RowOutput::file(size_t index) { return kept_ ? kept_->file(index) : *plain_[index]; }

void RowOutput::commit(const State& state) {
  if (kept_) kept_->commit(to_node(state));
  state_ = state;
}

void RowOutput::finish(const State& state) {
  if (kept_) return kept_->finish(to_node(state));
  for (const auto& file : plain_) file->finish();
}

void RowOutput::guard(const std::function<void()>& f) {
  const auto with_kept = [&](const Error& error, const std::string& where) {
    if (!kept_ || !state_) return std::string(error.what());
    return std::string(error.what()) + "\n  the answers to " + counted(state_->num_read, "row") +
           " are kept" + where;
  };
  try {
    f();
  } catch (const InputError& error) {  // the same command would come to it again
    throw InputError(with_kept(error, " in " + named(partial_path(paths_.front()).string())));
  } catch (const IoError& error) {
    throw IoError(with_kept(error, "; the same command with --resume goes on behind them"));
  }
}

}  // namespace graft
