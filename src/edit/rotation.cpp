#include "edit/rotation.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "edit/initial.h"

namespace graft {

using at::Tensor;

namespace {

// The first R columns of H_1 ... H_R for reflectors v_j in the columns of V [C,R]. They are I - V
// U^{-1} V^T with U upper triangular, its strict part that of V^T V and its diagonal |v_j|^2 / 2
// (Joffrain et al. 2006).
Tensor first_columns(const Tensor& v) {
  const int64_t width = v.size(0), rank = v.size(1);
  const Tensor products = at::mm(v.t(), v);
  const Tensor u = at::triu(products, 1) + at::diag_embed(products.diagonal() / 2);
  const Tensor corner = v.slice(0, 0, rank).t();  // V^T times the first R columns of I
  return at::eye(width, rank, v.options()) -
         at::mm(v, at::linalg_solve_triangular(u, corner, /*upper=*/true));
}

}  // namespace

Tensor rotation_of(const Tensor& chart, const Tensor& base) {
  const int64_t width = chart.size(0), rank = chart.size(1);
  ensure(rank < width && base.sizes() == chart.sizes(),
         "a chart has more rows than columns, and a base of its shape");
  const Tensor moved = -first_columns(at::eye(width, rank, chart.options()) + at::tril(chart, -1));
  const auto [reflectors, factors] = at::geqrf(base.detach());
  // base = (product of the reflectors) * (upper triangle, whose diagonal is +1 or -1): the signs go
  // into B.
  const Tensor signs = at::sign(reflectors.slice(0, 0, rank).diagonal());
  const Tensor all_signs = at::cat({signs, at::ones({width - rank}, signs.options())}).unsqueeze(1);
  return at::ormqr(reflectors, factors, all_signs * moved, /*left=*/true, /*transpose=*/false);
}

Tensor full_rotation_of(const Tensor& chart, const Tensor& base) {
  ensure(chart.size(0) == chart.size(1) && base.sizes() == chart.sizes(),
         "a chart of all coordinates is square, and a base of its shape");
  const Tensor lower = at::tril(chart, -1);
  return at::mm(base, at::matrix_exp(lower - lower.t()));
}

Tensor initial_chart(int64_t width, int64_t rank) { return -at::eye(width, rank, at::kFloat); }

Tensor random_rotation(int64_t width, int64_t rank, RandomKey key) {
  const auto [q, r] = at::linalg_qr(normal_tensor({width, rank}, 1.0, key).to(at::kDouble));
  return (q * at::sign(r.diagonal())).to(at::kFloat).contiguous();
}

}  // namespace graft
