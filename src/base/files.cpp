#include "base/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace graft {

namespace {

std::atomic<int64_t> g_bytes_until_failure{-1};

std::string refused(std::string_view doing, const Path& path) {
  return std::string(doing) + " '" + path.string() + "': " + std::strerror(errno);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

int open_for_reading(const Path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd >= 0) return fd;
  if (errno == ENOENT || errno == ENOTDIR) throw InputError("'" + path.string() + "': no such file");
  throw IoError(refused("cannot open", path));
}

uint64_t regular_size(int fd, const Path& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) throw IoError(refused("cannot stat", path));
  if (S_ISDIR(info.st_mode)) throw InputError("'" + path.string() + "': expected a file, found a directory");
  return static_cast<uint64_t>(info.st_size);
}

// Devices, pipes and sockets take bytes as they come: a file put in their place would end them.
bool is_stream(const Path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

// What the last of a chain of links names, there or not.
Path behind_links(const Path& path) {
  constexpr int kMostLinks = 40;  // as many as the system follows
  Path target = path;
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(std::filesystem::symlink_status(target, error)); ++links) {
    if (links == kMostLinks) {
      errno = ELOOP;
      throw IoError(refused("cannot replace", path));
    }
    const Path named = std::filesystem::read_symlink(target, error);
    if (error) throw IoError("cannot read link '" + target.string() + "': " + error.message());
    target = target.parent_path() / named;  // `named` alone where it is absolute
  }
  return target;
}

}  // namespace

void fail_writes_after(int64_t count) { g_bytes_until_failure = count; }

std::string read_file(const Path& path) {
  const Descriptor file(open_for_reading(path));
  std::string bytes;
  bytes.reserve(regular_size(file.get(), path));
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError(refused("cannot read", path));
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(got));
  }
}

void write_all(int descriptor, std::string_view bytes, const Path& path) {
  while (!bytes.empty()) {
    size_t count = bytes.size();
    const int64_t budget = g_bytes_until_failure;
    if (budget >= 0) {
      if (budget == 0) {
        errno = ENOSPC;
        throw IoError(refused("cannot write", path));
      }
      count = std::min(count, static_cast<size_t>(budget));
      g_bytes_until_failure = budget - static_cast<int64_t>(count);
    }
    const ssize_t put = ::write(descriptor, bytes.data(), count);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw IoError(refused("cannot write", path));
    bytes.remove_prefix(static_cast<size_t>(put));
  }
}

void sync_directory(const Path& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) throw IoError(refused("cannot sync folder", path));
}

void replace_file(const Path& path, const std::function<void(int)>& write) {
  if (is_stream(path)) {
    const Descriptor stream(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (stream.get() < 0) throw IoError(refused("cannot open", path));
    write(stream.get());
    return;
  }
  const Path target = behind_links(path);
  const Path folder = target.has_parent_path() ? target.parent_path() : Path(".");
  std::string temp = (folder / ("." + target.filename().string() + ".XXXXXX")).string();
  const int fd = ::mkostemp(temp.data(), O_CLOEXEC);
  if (fd < 0) throw IoError(refused("cannot create a file beside", path));
  try {
    const Descriptor file(fd);
    write(fd);
    if (::fchmod(fd, 0644) != 0 || ::fsync(fd) != 0) throw IoError(refused("cannot sync", path));
  } catch (...) {
    ::unlink(temp.c_str());
    throw;
  }
  if (::rename(temp.c_str(), target.c_str()) != 0) {
    const std::string message = refused("cannot replace", path);
    ::unlink(temp.c_str());
    throw IoError(message);
  }
  sync_directory(folder);
}

void write_file_atomically(const Path& path, std::string_view bytes) {
  replace_file(path, [&](int descriptor) { write_all(descriptor, bytes, path); });
}

void make_directories(const Path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw IoError("cannot create folder '" + path.string() + "': " + error.message());
}

MappedFile::MappedFile(const Path& path) {
  const Descriptor file(open_for_reading(path));
  const uint64_t size = regular_size(file.get(), path);
  if (size == 0) return;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) throw IoError(refused("cannot map", path));
  bytes_ = {static_cast<const std::byte*>(address), size};
}

void MappedFile::release_pages() const {
  if (!bytes_.empty()) ::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace graft
