// Which of its two forms an operation takes: the kernel of its own file, or the plain one
// (plain/plain.h). Every public operation asks here, once, behind its checks.
// Internal to src/tensor.
#pragma once

#include <ATen/core/Tensor.h>

namespace graft {

// Whether the environment says GRAFT_PLAIN=1: everything runs on the plain forms. Read once, at the
// first call. Throws InputError for any value but 0 and 1.
bool only_plain_forms();

// The kernels run on the CPU; other devices take the plain form.
inline bool uses_kernels(const at::Tensor& x) { return x.device().is_cpu() && !only_plain_forms(); }

}  // namespace graft
