// Files: reading whole, mapping into memory, and replacing atomically (temp file in the same
// folder, fsync, rename).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace graft {

using Path = std::filesystem::path;

// The whole file as bytes. Throws InputError if it is missing or a pointer of Git LFS, IoError if
// the system refuses or has no memory for it.
std::string read_file(const Path& path);
// Of a file of so many bytes that memory has no room for, or for what is made of it.
std::string beyond_memory_text(const Path& path, uint64_t bytes);

// Replaces `path`, or what it links to, by `bytes`: a reader sees the old file or the new one,
// never a part. Throws IoError; the old file stays.
void write_file_atomically(const Path& path, std::string_view bytes);

// Opens the temp file, lets `write` fill it through the descriptor, then fsyncs and renames.
// A device or a pipe is opened and filled itself.
void replace_file(const Path& path, const std::function<void(int descriptor)>& write);

// Writes all of `bytes` to an open descriptor. Throws IoError naming `path`.
void write_all(int descriptor, std::string_view bytes, const Path& path);

// Creates `path` and its parents. Throws IoError.
void make_directories(const Path& path);

// The folder that `path` lies in; "." of a bare name.
Path folder_of(const Path& path);

// Flushes a directory entry to disk, so that a rename in it survives a power cut.
void sync_directory(const Path& path);

// Gives the whole file `fresh`, which lies in the same folder, the name `path`, in place of what
// has it, and syncs. Throws IoError: where it could not be renamed both stay; where it could not be
// synced `path` is the new one.
void rename_over(const Path& fresh, const Path& path);

// Gives the whole file `fresh`, which lies in the same folder, the name `path`, and syncs. Throws
// IoError where there is a `path` already: nothing is replaced, and `fresh` is gone either way.
void name_new_file(const Path& fresh, const Path& path);

// "cannot look at 'x': Permission denied", of a question that the file system refused.
std::string refusal_text(const std::filesystem::filesystem_error& error);

// A read-only mapping of a file. Movable; unmapped when the last owner of `bytes()` users lets go
// of the object.
class MappedFile {
 public:
  explicit MappedFile(const Path& path);  // Throws as read_file does.
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return bytes_; }
  // Gives the memory of pages read so far back to the system; they are read again from the file
  // when they are next touched.
  void release_pages() const;

 private:
  std::span<const std::byte> bytes_;
};

// Test seam: after `count` more bytes every write fails as if the disk were full; a negative count
// restores normal writing.
void fail_writes_after(int64_t count);

}  // namespace graft
