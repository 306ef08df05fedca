#include "tests/fuzz/mutation.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "base/error.h"

namespace graft::testing {

namespace {

namespace fs = std::filesystem;

size_t place(const std::string& bytes, Random& random) {
  return static_cast<size_t>(random.below(bytes.size() + 1));
}

// A stretch [begin, begin + size), mostly short.
struct Stretch {
  size_t begin, size;
};
Stretch stretch(const std::string& bytes, Random& random) {
  const size_t begin = place(bytes, random);
  const uint64_t longest = random.below(8) == 0 ? bytes.size() : 16;
  return {begin, std::min(bytes.size() - begin, static_cast<size_t>(random.below(longest + 1)))};
}

// Another number in the place of one that the text holds.
void change_number(std::string& bytes, Random& random) {
  static const std::array<const char*, 14> kNumbers = {
      "0",    "1",     "2",        "-1",      "199",  "65536", "4294967296", "9223372036854775807",
      "1e30", "1e999", "0.000001", "1234567", "null", "true"};
  std::vector<size_t> starts;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const bool is_digit = std::isdigit(static_cast<unsigned char>(bytes[i])) != 0;
    if (is_digit && (i == 0 || std::isalnum(static_cast<unsigned char>(bytes[i - 1])) == 0))
      starts.push_back(i);
  }
  if (starts.empty()) return;
  const size_t start = starts[random.below(starts.size())];
  size_t end = start;
  while (end < bytes.size() && std::isdigit(static_cast<unsigned char>(bytes[end])) != 0) ++end;
  bytes.replace(start, end - start, kNumbers[random.below(kNumbers.size())]);
}

std::string foreign_word(Random& random) {
  switch (random.below(6)) {
    case 0: return "\x1b[31m";
    case 1: return "\x7f";
    case 2: return "\xe2\x80\xae";  // what follows is written from right to left
    case 3: return std::string(20'000, 'x');
    case 4: return "\"";
    default: return std::string(1, static_cast<char>(random.below(256)));
  }
}

void mutate_once(std::string& bytes, Random& random) {
  const Stretch part = stretch(bytes, random);
  switch (random.below(9)) {
    case 0:
      if (!bytes.empty()) {
        char& byte = bytes[random.below(bytes.size())];
        byte = static_cast<char>(static_cast<unsigned char>(byte) ^ (1U << random.below(8)));
      }
      break;
    case 1:
      if (!bytes.empty()) bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
      break;
    case 2: bytes.erase(part.begin, part.size); break;
    case 3: bytes.insert(place(bytes, random), bytes.substr(part.begin, part.size)); break;
    case 4: {
      const std::string moved = bytes.substr(part.begin, part.size);
      bytes.erase(part.begin, part.size);
      bytes.insert(place(bytes, random), moved);
      break;
    }
    case 5:
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(part.begin), part.size, '\0');
      break;
    case 6: bytes.resize(place(bytes, random)); break;
    case 7: change_number(bytes, random); break;
    default: bytes.insert(place(bytes, random), foreign_word(random)); break;
  }
}

void put_socket(const Path& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = path.string();
  ensure(fd >= 0 && name.size() < sizeof address.sun_path,
         "a path that is short enough for a socket");
  std::copy(name.begin(), name.end(), address.sun_path);
  ensure(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0,
         "a socket is bound");
  ::close(fd);
}

// What is no file any more.
std::string replace_file_by_other(const Path& path, Random& random) {
  fs::remove(path);
  switch (random.below(5)) {
    case 0: write_file_atomically(path, ""); return "emptied";
    case 1: make_directories(path); return "made a folder";
    case 2: fs::create_symlink("/dev/zero", path); return "made an endless device";
    case 3: put_socket(path); return "made a socket";
    default: return "removed";
  }
}

}  // namespace

std::string mutated(std::string bytes, Random& random) {
  for (uint64_t left = 1 + random.below(3); left > 0; --left) mutate_once(bytes, random);
  return bytes;
}

std::string mutate_file(const Path& folder, Random& random) {
  std::vector<Path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  const Path& file = files[random.below(files.size())];
  const std::string name = fs::relative(file, folder).string();
  if (random.below(20) == 0) return name + " " + replace_file_by_other(file, random);
  write_file_atomically(file, mutated(read_file(file), random));
  return name + " mutated";
}

}  // namespace graft::testing
