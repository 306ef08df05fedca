// SHA-256 of bytes in pieces; of whole texts tests/text has the published values.
#include "base/digest.h"

#include <gtest/gtest.h>

namespace graft::test_digest {
namespace {

TEST(Sha256, PiecesMakeTheWhole) {
  const std::string text(300, 'a');
  for (size_t length = 0; length <= text.size(); ++length) {
    for (const size_t piece : std::initializer_list<size_t>{1, 7, 55, 63, 64, 65, 128}) {
      Sha256 hash;
      for (size_t at = 0; at < length; at += piece)
        hash.update(std::string_view(text).substr(at, std::min(piece, length - at)));
      ASSERT_EQ(hash.digest(), sha256(text.substr(0, length))) << length << " bytes by " << piece;
    }
  }
}

TEST(Sha256, ADigestDoesNotEndTheText) {
  Sha256 hash;
  hash.update("ab");
  EXPECT_EQ(hash.digest(), sha256("ab"));
  hash.update("c");
  EXPECT_EQ(hash.digest(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace graft::test_digest
