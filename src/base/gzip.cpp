#include "base/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/wording.h"

namespace graft {

namespace {

// Ends what it began, however the reading ends.
class Inflater {
 public:
  Inflater() {
    constexpr int kGzipOnly = 16;  // added to the window's bits: a gzip header, not zlib's
    ensure(::inflateInit2(&stream_, MAX_WBITS + kGzipOnly) == Z_OK, "zlib could not begin");
  }
  ~Inflater() { ::inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Adds one member of the file, which begins at `bytes`, to `out`; returns how many bytes it took.
  size_t read_member(std::string_view bytes, const std::string& source, size_t limit,
                     std::string& out) {
    ensure(::inflateReset(&stream_) == Z_OK, "zlib could not begin again");
    size_t taken = 0;
    for (int state = Z_OK; state != Z_STREAM_END;) {
      const size_t given = std::min<size_t>(bytes.size() - taken, std::numeric_limits<uInt>::max());
      stream_.next_in = reinterpret_cast<Bytef*>(
          const_cast<char*>(bytes.data() + taken));  // zlib does not write there
      stream_.avail_in = static_cast<uInt>(given);
      char buffer[1 << 16];
      stream_.next_out = reinterpret_cast<Bytef*>(buffer);
      stream_.avail_out = sizeof buffer;
      state = ::inflate(&stream_, Z_NO_FLUSH);
      taken += given - stream_.avail_in;
      out.append(buffer, sizeof buffer - stream_.avail_out);
      if (out.size() > limit)
        throw InputError(source + ": expected at most " + bytes_text(static_cast<int64_t>(limit)) +
                         " of text inside, found more; divide the file");
      if (state == Z_BUF_ERROR && taken == bytes.size())
        throw InputError(source + ": the gzip data end too early; was it copied whole?");
      if (state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR)
        throw InputError(source + ": damaged gzip data" +
                         (stream_.msg == nullptr ? "" : std::string(" (") + stream_.msg + ")"));
    }
    return taken;
  }

 private:
  z_stream stream_{};
};

}  // namespace

bool is_gzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

std::string gunzip(std::string_view bytes, const std::string& source, size_t limit) {
  Inflater inflater;
  std::string out;
  do {
    if (!is_gzip(bytes))
      throw InputError(source + ": expected gzip data, found " + quote(bytes.substr(0, 8)));
    bytes.remove_prefix(inflater.read_member(bytes, source, limit, out));
  } while (bytes.find_first_not_of('\0') !=
           std::string_view::npos);  // zeros at the end are padding, as gzip has it
  return out;
}

}  // namespace graft
