#include "base/kept_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/descriptors.h"
#include "base/error.h"
#include "base/printable.h"
#include "base/spelling.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

Path progress_path(const Path& path) {
  Path beside = partial_path(path);
  return beside.replace_extension(".progress");
}

// "precision was fp32, now bf16"; long values are not for the eye. Null: not there.
std::string difference(const std::string& name, const Node* before, const Node* now) {
  constexpr size_t kShown = 40;
  const std::string was = before == nullptr ? "" : before->scalar,
                    is = now == nullptr ? "" : now->scalar;
  if (was.size() > kShown || is.size() > kShown) return name + " has changed";
  return name + " was " + (was.empty() ? "not given" : was) + ", now " +
         (is.empty() ? "not given" : is);
}

// Some entries stand in a map only where their flag was given, so each side may lack one.
std::vector<std::string> differences(const Node& before, const Node& now) {
  std::vector<std::string> out;
  for (const auto& [name, value] : now.members) {
    const Node* const old = before.kind == Node::Kind::kMap ? before.find(name) : nullptr;
    if (old == nullptr || old->scalar != value.scalar) out.push_back(difference(name, old, &value));
  }
  for (const auto& [name, value] : before.members) {
    if (now.find(name) == nullptr) out.push_back(difference(name, &value, nullptr));
  }
  return out;
}

}  // namespace

bool has_kept_part(const Path& path) {
  std::error_code error;
  return !takes_bytes_at_once(path) && fs::is_regular_file(progress_path(path), error);
}

KeptFiles::KeptFiles(std::vector<Path> paths, const Node& about, Start start)
    : paths_(std::move(paths)), progress_path_(progress_path(paths_.front())) {
  std::optional<Mark> mark;
  if (start == Start::kGoOn && has_kept_part(paths_.front())) mark = read_mark(about);
  if (mark && mark->is_finished && !lies_there(*mark))
    mark.reset();  // finished, and taken away since
  if (mark) state_ = mark->state;
  is_finished_ = mark && mark->is_finished;
  try {
    open_files(mark ? mark->bytes : std::vector<uint64_t>(paths_.size(), 0));
    if (is_finished_) put_in_place();
    else open_progress(mark ? mark->progress_bytes : 0, about);
  } catch (...) {
    if (!state_) discard();
    throw;
  }
}

KeptFiles::~KeptFiles() {
  if (!state_) discard();
  if (progress_ >= 0) ::close(progress_);
}

// The last whole line tells; a process that ended within a line has left a part of one.
std::optional<KeptFiles::Mark> KeptFiles::read_mark(const Node& about) const {
  const std::string text = read_file(progress_path_), source = progress_path_.string();
  std::optional<Node> before;
  std::optional<Mark> last;
  for (size_t begin = 0, end = text.find('\n'); end != std::string::npos;
       begin = end + 1, end = text.find('\n', begin)) {
    const Node line = parse_json(std::string_view(text).substr(begin, end - begin), source);
    if (!before) {
      before = line;
      continue;
    }
    if (line.kind != Node::Kind::kMap) return std::nullopt;
    const Node *bytes = line.find("bytes"), *state = line.find("state"),
               *finished = line.find("finished");
    if (bytes == nullptr || state == nullptr || finished == nullptr ||
        bytes->items.size() != paths_.size())
      return std::nullopt;
    last = Mark{{}, *state, finished->as_bool().value_or(false), end + 1};
    for (const Node& size : bytes->items)
      last->bytes.push_back(
          static_cast<uint64_t>(std::max<int64_t>(size.as_integer().value_or(0), 0)));
  }
  if (!last) return std::nullopt;
  const std::vector<std::string> differ = differences(*before, about);
  if (differ.empty()) return last;
  throw InputError(option_name("resume") + ": " + named(paths_.front().string()) +
                   " was begun otherwise: " + joined(differ) +
                   "; give what it was begun with, or leave " + option_name("resume") +
                   " out to begin anew");
}

// Of a finished job: each file in its place, or as a part beside it.
bool KeptFiles::lies_there(const Mark& mark) const {
  for (size_t i = 0; i < paths_.size(); ++i) {
    std::error_code error;
    if (!fs::exists(partial_path(paths_[i]), error) &&
        fs::file_size(paths_[i], error) != mark.bytes[i])
      return false;
  }
  return true;
}

void KeptFiles::open_files(const std::vector<uint64_t>& bytes) {
  for (size_t i = 0; i < paths_.size(); ++i) {
    std::error_code error;
    const bool is_in_place = is_finished_ && !fs::exists(partial_path(paths_[i]), error);
    files_.push_back(is_in_place ? nullptr
                                 : std::make_unique<OutputFile>(paths_[i], Partial{bytes[i]}));
  }
}

void KeptFiles::open_progress(uint64_t bytes, const Node& about) {
  progress_ = ::open(progress_path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (progress_ < 0) throw IoError(refused("cannot create a file beside", paths_.front()));
  const auto end = static_cast<off_t>(bytes);
  if (::ftruncate(progress_, end) != 0 || ::lseek(progress_, end, SEEK_SET) < 0)
    throw IoError(refused("cannot cut", progress_path_));
  if (bytes == 0) add_line(about);
}

void KeptFiles::add_line(const Node& line) {
  write_all(progress_, to_json(line, -1) + "\n", paths_.front());
}

void KeptFiles::mark(Node state, bool is_finished) {
  std::vector<Node> bytes;
  for (const auto& file : files_) {
    file->sync();
    bytes.push_back(Node::integer(static_cast<int64_t>(file->num_bytes())));
  }
  add_line(Node::map({{"bytes", Node::list(std::move(bytes))},
                      {"finished", Node::boolean(is_finished)},
                      {"state", state}}));
  if (::fsync(progress_) != 0) throw IoError(refused("cannot sync", progress_path_));
  state_ = std::move(state);
}

void KeptFiles::commit(Node state) { mark(std::move(state), /*is_finished=*/false); }

void KeptFiles::finish(Node state) {
  mark(std::move(state), /*is_finished=*/true);
  is_finished_ = true;
  put_in_place();
}

// The first file last: its progress file is what a later process finds.
void KeptFiles::put_in_place() {
  for (auto file = files_.rbegin(); file != files_.rend(); ++file) {
    if (*file) (*file)->finish();
  }
  ::unlink(progress_path_.c_str());
}

void KeptFiles::discard() {
  for (const auto& file : files_) {
    if (file) file->discard();
  }
  if (!files_.empty()) ::unlink(progress_path_.c_str());  // else another process may be writing it
}

}  // namespace graft
