// Fingerprints: a stable 128-bit hash of what a tensor holds, for "is this the base that the
// adapter was trained on?".
//
// Fast (XXH3, memory speed), not cryptographic: it tells apart models, it does not prove who made
// them.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "tensor/named_tensors.h"

namespace graft {

// 32 hexadecimal digits over (dtype, shape, bytes in row-major order): equal content gives equal
// text on every machine, whatever the strides. The dtype and the shape count: the same bytes as
// another dtype or shape differ. Throws InternalError unless `tensor` is a CPU tensor of a dtype
// that a safetensors file can hold. `after_piece` is called after every 16 MiB, and at the end.
std::string fingerprint(const at::Tensor& tensor, const std::function<void()>& after_piece = {});

// The fingerprint of a tensor that nobody has whole: its values come in pieces, one behind the
// other in row-major order.
class PiecewiseFingerprint {
 public:
  PiecewiseFingerprint();
  PiecewiseFingerprint(PiecewiseFingerprint&&) noexcept;
  ~PiecewiseFingerprint();

  // Requires: contiguous, on the CPU.
  void add(const at::Tensor& piece);
  // That of the tensor of this shape, once all of it was added.
  std::string text(at::ScalarType dtype, at::IntArrayRef shape) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The fingerprint of each tensor, by name.
std::map<std::string, std::string> fingerprints(const NamedTensors& tensors,
                                                const std::function<void()>& after_piece = {});

}  // namespace graft
