#include "base/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>

#include "base/descriptors.h"
#include "base/error.h"
#include "base/printable.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as many as the system follows

Path folder_of(const Path& path) { return path.has_parent_path() ? path.parent_path() : Path("."); }

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

// Devices, pipes and sockets take bytes as they come: a file put in their place would end them.
bool takes_bytes_at_once(const Path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
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
    const bool is_number = fault == std::errc{} && stop == name.data() + name.size() && descriptor >= 0;
    if (is_number && fs::canonical(folder_of(target), error) == own) return descriptor;
    if (!follow_link(target, error)) break;
  }
  return std::nullopt;
}

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
  target_ = behind_links(path_);
  std::string temp = (folder_of(target_) / ("." + target_.filename().string() + ".XXXXXX")).string();
  descriptor_ = ::mkostemp(temp.data(), O_CLOEXEC);
  if (descriptor_ < 0) throw IoError(refused("cannot create a file beside", path_));
  temp_ = std::move(temp);
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temp_.empty()) ::unlink(temp_.c_str());
}

void OutputFile::write(std::string_view bytes) { write_all(descriptor_, bytes, path_); }

void OutputFile::finish() {
  if (!is_stream() && (::fchmod(descriptor_, 0644) != 0 || ::fsync(descriptor_) != 0)) throw IoError(refused("cannot sync", path_));
  ::close(descriptor_);
  descriptor_ = -1;
  if (!is_stream()) replace();
}

void OutputFile::replace() {
  if (::rename(temp_.c_str(), target_.c_str()) != 0) throw IoError(refused("cannot replace", path_));
  temp_.clear();
  sync_directory(folder_of(target_));
}

}  // namespace graft
