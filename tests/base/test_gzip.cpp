// What gzip writes (Python's gzip and GNU gzip are tried in tests/cli/test_data_files.py); its
// limit.
#include "base/gzip.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "base/error.h"
#include "tests/support/testing.h"

namespace graft::test_gzip {
namespace {

std::string packed(std::string text) {
  z_stream stream{};
  EXPECT_EQ(::deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8,
                           Z_DEFAULT_STRATEGY),
            Z_OK);
  std::string out(::deflateBound(&stream, static_cast<uLong>(text.size())) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(text.data());
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

TEST(Gzip, ReadsEverySize) {
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{65535}, size_t{65536}, size_t{65537}, size_t{1} << 20}) {
    std::string text(size, 'x');
    for (size_t i = 0; i < size; i += 7) text[i] = static_cast<char>('a' + i % 26);
    EXPECT_EQ(gunzip(packed(text), "f", size), text) << size;
    EXPECT_EQ(gunzip(packed(text) + packed("end") + std::string(10, '\0'), "f", size + 3),
              text + "end")
        << size;
  }
  EXPECT_TRUE(is_gzip(packed("")));
  EXPECT_FALSE(is_gzip("text"));
  EXPECT_FALSE(is_gzip("\x1f"));
}

TEST(Gzip, EveryCutAndEveryChangedByteIsRefused) {
  const std::string whole = packed("some rows of a file, some rows of a file");
  for (size_t length = 0; length < whole.size(); ++length)
    EXPECT_THROW(gunzip(whole.substr(0, length), "f", 1000), InputError) << length;
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x55);
    try {
      EXPECT_EQ(gunzip(changed, "f", 1000), "some rows of a file, some rows of a file")
          << i;  // time and system in the header
    } catch (const InputError&) {
    }
  }
}

TEST(Gzip, NothingBeyondTheLimit) {
  const std::string bomb = packed(std::string(5 << 20, ' '));
  testing::expect_message<InputError>([&] { gunzip(bomb, "f.gz", 1 << 20); },
                                      "f.gz: expected at most 1 MB of text inside, found more");
}

}  // namespace
}  // namespace graft::test_gzip
