#include "base/output_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "base/descriptors.h"
#include "base/error.h"
#include "base/printable.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as many as the system follows

// One link further; false where `path` is none.
bool follow_link(Path& path, std::error_code& error) {
  if (!fs::is_symlink(fs::symlink_status(path, error))) return false;
  const Path named = fs::read_symlink(path, error);
  if (error) return false;
  path = path.parent_path() / named;  // `named` alone where it is absolute
  return true;
}

// What the last of a chain of links names, there or not.
Path behind_links(const Path& path) {
  Path target = path;
  std::error_code error;
  for (int links = 0; follow_link(target, error); ++links) {
    if (links == kMostLinks) {
      errno = ELOOP;
      throw IoError(refused("cannot replace", path));
    }
  }
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory)
    throw IoError("cannot read link " + named(target.string()) + ": " + error.message());
  return target;
}

// Whether `path` still names the file that is open: another process may have put it in its place,
// or taken it away.
bool names(const std::string& path, int descriptor) {
  struct stat named {
  }, open{};
  if (::stat(path.c_str(), &named) != 0 || ::fstat(descriptor, &open) != 0) return false;
  return named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

}  // namespace

std::optional<int> named_descriptor(const Path& path) {
  std::error_code error;
  const Path own = fs::canonical("/proc/self/fd", error);  // "/proc/1234/fd"
  if (error) return std::nullopt;
  Path target = path;
  for (int links = 0; links <= kMostLinks; ++links) {
    const std::string name = target.filename().string();
    int descriptor = -1;
    const auto [stop, fault] = std::from_chars(name.data(), name.data() + name.size(), descriptor);
    const bool is_number =
        fault == std::errc{} && stop == name.data() + name.size() && descriptor >= 0;
    if (is_number && fs::canonical(folder_of(target), error) == own) return descriptor;
    if (!follow_link(target, error)) break;
  }
  return std::nullopt;
}

// Devices, pipes and sockets take bytes as they come: a file put in their place would end them.
bool takes_bytes_at_once(const Path& path) {
  struct stat info {};
  if (named_descriptor(path)) return true;
  return ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

Path partial_path(const Path& path) {
  const Path target = behind_links(path);
  return folder_of(target) / ("." + target.filename().string() + ".partial");
}

namespace {

// Told before anything is written: in the end no file could take the folder's place.
Path target_of(const Path& path) {
  Path target = behind_links(path);
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored)) {
    errno = EISDIR;
    throw IoError(refused("cannot replace", path));
  }
  return target;
}

// Of a new file: what the umask leaves. It is read from /proc, as umask() tells it only by setting
// another one, which files that other threads make meanwhile would get.
mode_t usual_mode() {
  constexpr mode_t kUsualUmask = 022;
  constexpr std::string_view kKey = "Umask:";
  mode_t mask = kUsualUmask;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(kKey))
      mask = static_cast<mode_t>(std::strtoul(line.c_str() + kKey.size(), nullptr, 8));
  }
  return 0666 & ~mask;
}

// A file in another's place may be read by those who could read that one.
mode_t mode_for(const Path& target) {
  struct stat before {};
  return ::stat(target.c_str(), &before) == 0 ? before.st_mode & 0777 : usual_mode();
}

}  // namespace

OutputFile::OutputFile(Path path) : path_(std::move(path)) {
  if (const std::optional<int> named = named_descriptor(path_)) {
    std::fflush(stdout);  // what was printed before comes first
    descriptor_ = ::fcntl(*named, F_DUPFD_CLOEXEC, 0);
    if (descriptor_ < 0) throw IoError(refused("cannot open", path_));
    return;
  }
  if (takes_bytes_at_once(path_)) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor_ < 0) throw IoError(refused("cannot open", path_));
    return;
  }
  target_ = target_of(path_);
  std::string temp =
      (folder_of(target_) / ("." + target_.filename().string() + ".XXXXXX")).string();
  descriptor_ = ::mkostemp(temp.data(), O_CLOEXEC);
  if (descriptor_ < 0) throw IoError(refused("cannot create a file beside", path_));
  temp_ = std::move(temp);
}

OutputFile::OutputFile(Path path, Partial partial)
    : path_(std::move(path)), keeps_partial_(true), num_bytes_(partial.bytes) {
  ensure(!takes_bytes_at_once(path_), "a part is kept of a regular file");
  target_ = target_of(path_);
  temp_ = partial_path(path_).string();
  try {
    open_partial();
  } catch (...) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw;
  }
}

void OutputFile::open_partial() {
  do {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = ::open(temp_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor_ < 0) throw IoError(refused("cannot create a file beside", path_));
    if (!lock_alone(descriptor_))
      throw IoError(named(path_.string()) +
                    ": another process is writing it; wait for it, or stop it first");
  } while (!names(temp_, descriptor_));
  const uint64_t there = static_cast<uint64_t>(status_of(descriptor_, temp_).st_size);
  if (there < num_bytes_) {
    throw InputError(named(temp_) + ": expected at least " + std::to_string(num_bytes_) +
                     " bytes, found " + std::to_string(there) + "; begin anew");
  }
  const auto end = static_cast<off_t>(num_bytes_);
  if (::ftruncate(descriptor_, end) != 0 || ::lseek(descriptor_, end, SEEK_SET) < 0)
    throw IoError(refused("cannot cut", temp_));
}

OutputFile::~OutputFile() {
  if (!keeps_partial_) discard();
  if (descriptor_ >= 0) ::close(descriptor_);
}

void OutputFile::discard() {
  if (!temp_.empty()) ::unlink(temp_.c_str());
  temp_.clear();
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

void OutputFile::write(std::string_view bytes) {
  write_all(descriptor_, bytes, path_);
  num_bytes_ += bytes.size();
}

void OutputFile::sync() {
  if (!is_stream() && ::fsync(descriptor_) != 0) throw IoError(refused("cannot sync", path_));
}

void OutputFile::finish() {
  if (!is_stream()) {
    if (::fchmod(descriptor_, mode_for(target_)) != 0)
      throw IoError(refused("cannot set the mode of", path_));
    sync();
    // While its lock is held: a process that waits for it must not take the finished file for a
    // part.
    rename_over(temp_, target_);
    temp_.clear();
  }
  ::close(descriptor_);
  descriptor_ = -1;
}

}  // namespace graft
