// Fingerprints: equal content gives equal text, anything else another; the text never changes
// between versions.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tensor/fingerprint.h"
#include "tests/support/testing.h"

namespace graft::test_fingerprint {
namespace {

TEST(Fingerprint, DependsOnContentDtypeAndShapeOnly) {
  const at::Tensor a = at::arange(6, at::kFloat).reshape({2, 3});
  const std::string text = fingerprint(a);
  EXPECT_EQ(text.size(), 32U);
  EXPECT_EQ(text, fingerprint(a.clone()));
  EXPECT_EQ(text, fingerprint(a.t().contiguous().t())) << "strides must not count";
  EXPECT_NE(text, fingerprint(a.reshape({3, 2})));
  EXPECT_NE(text, fingerprint(a.view(at::kInt)));
  EXPECT_NE(text, fingerprint(a + 1));
  EXPECT_NE(fingerprint(at::empty({0})), fingerprint(at::empty({0, 2})));
  EXPECT_NE(fingerprint(at::zeros({1})), fingerprint(at::zeros({1}).neg()))
      << "0 and -0 are different bytes";
}

TEST(Fingerprint, NeverChanges) {
  EXPECT_EQ(fingerprint(at::arange(6, at::kFloat).reshape({2, 3})),
            "4ce41b3c5f1aeb69e352e55da4ffca06");
  EXPECT_EQ(fingerprint(at::empty({0})), "40d32a606fbaaff29fd9669436bfd0a4");
  EXPECT_EQ(fingerprint(at::arange(100'000, at::kLong).to(at::kBFloat16)),
            "48f7bca68fda58916b0c391005c68b9d");
}

TEST(Fingerprint, OfPiecesIsThatOfTheWhole) {
  const at::Tensor large = at::arange((int64_t{40} << 20) / 8);  // 40 MiB
  int pieces = 0;
  EXPECT_EQ(fingerprint(large, [&] { ++pieces; }), "0e25c7639f4063095d0fa1084ae0248e");
  EXPECT_EQ(pieces, 3);
  fingerprints({{"a", at::ones({1})}, {"b", at::ones({1})}}, [&] { ++pieces; });
  EXPECT_EQ(pieces, 5) << "at the end of every tensor";

  PiecewiseFingerprint rows;
  const at::Tensor matrix = large.view({-1, 512});
  rows.add(matrix.narrow(0, 0, 7));
  rows.add(matrix.narrow(0, 7, matrix.size(0) - 7));
  EXPECT_EQ(rows.text(at::kLong, matrix.sizes()), fingerprint(matrix));
}

TEST(Fingerprint, NamesEveryTensor) {
  const auto all = fingerprints({{"a", at::ones({1})}, {"b", at::zeros({1})}});
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all.at("b"), fingerprint(at::zeros({1})));
}

TEST(Fingerprint, RefusesWhatHasNoBytes) {
  testing::expect_message<InternalError>([] { fingerprint(at::Tensor()); },
                                         "expected a defined CPU tensor");
  testing::expect_message<InternalError>([] { fingerprint(at::ones({1}, at::kComplexFloat)); },
                                         "has no name in safetensors");
}

}  // namespace
}  // namespace graft::test_fingerprint
