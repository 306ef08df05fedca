#include "base/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <new>

#include "base/descriptors.h"
#include "base/error.h"
#include "base/output_file.h"
#include "base/printable.h"
#include "base/wording.h"

namespace graft {

namespace {

std::atomic<int64_t> g_bytes_until_failure{-1};

constexpr std::string_view kLfsPointer = "version https://git-lfs.";

// What Git has in the place of a large file that was not fetched.
void refuse_lfs_pointer(std::string_view bytes, const Path& path) {
  if (bytes.starts_with(kLfsPointer))
    throw InputError(named(path.string()) +
                     ": expected the file, found the pointer that Git LFS keeps in its place; "
                     "fetch it with git lfs pull");
}

}  // namespace

void fail_writes_after(int64_t count) { g_bytes_until_failure = count; }

std::string read_file(const Path& path) {
  const Descriptor file(open_for_reading(path));
  const struct stat info = status_of(file.get(), path);
  const bool is_pipe = S_ISFIFO(info.st_mode);
  if (!S_ISREG(info.st_mode) && !is_pipe) refuse_kind(info.st_mode, "a file or a pipe", path);
  std::string bytes;
  try {
    if (!is_pipe) bytes.reserve(static_cast<size_t>(info.st_size));
    char buffer[1 << 16];
    while (const size_t got = read_some(file.get(), buffer, sizeof buffer, bytes.size(), path))
      bytes.append(buffer, got);
  } catch (const std::bad_alloc&) {
    throw IoError(beyond_memory_text(path, std::max<uint64_t>(bytes.size(), info.st_size)));
  }
  refuse_lfs_pointer(bytes, path);
  return bytes;
}

std::string beyond_memory_text(const Path& path, uint64_t bytes) {
  return named(path.string()) + ": there is no memory for its " +
         bytes_text(static_cast<int64_t>(bytes)) +
         ", which are read as a whole; take a smaller file, or raise the limit of memory";
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

Path folder_of(const Path& path) { return path.has_parent_path() ? path.parent_path() : Path("."); }

void sync_directory(const Path& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0)
    throw IoError(refused("cannot sync folder", path));
}

void rename_over(const Path& fresh, const Path& path) {
  if (::rename(fresh.c_str(), path.c_str()) != 0) throw IoError(refused("cannot replace", path));
  sync_directory(folder_of(path));
}

void name_new_file(const Path& fresh, const Path& path) {
  bool is_made =
      ::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0;
  // A file system that cannot rename so has links, which never replace either.
  if (!is_made && (errno == EINVAL || errno == ENOSYS))
    is_made = ::link(fresh.c_str(), path.c_str()) == 0;
  const std::string why = is_made ? "" : refused("cannot make", path);
  ::unlink(fresh.c_str());
  if (!is_made) throw IoError(why);
  sync_directory(folder_of(path));
}

void replace_file(const Path& path, const std::function<void(int)>& write) {
  OutputFile file(path);
  write(file.descriptor());
  file.finish();
}

void write_file_atomically(const Path& path, std::string_view bytes) {
  replace_file(path, [&](int descriptor) { write_all(descriptor, bytes, path); });
}

void make_directories(const Path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw IoError("cannot create folder " + named(path.string()) + ": " + error.message());
}

std::string refusal_text(const std::filesystem::filesystem_error& error) {
  return "cannot look at " + named(error.path1().string()) + ": " + error.code().message();
}

MappedFile::MappedFile(const Path& path) {
  const Descriptor file(open_for_reading(path));
  const struct stat info = status_of(file.get(), path);
  if (!S_ISREG(info.st_mode)) refuse_kind(info.st_mode, "a file", path);
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size == 0) return;
  char head[kLfsPointer.size()];
  refuse_lfs_pointer({head, read_some(file.get(), head, sizeof head, 0, path)}, path);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) throw IoError(refused("cannot map", path));
  bytes_ = {static_cast<const std::byte*>(address), size};
}

void MappedFile::release_pages() const {
  if (!bytes_.empty())
    ::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace graft
