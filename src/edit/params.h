// The tensors of an edit, found by number. An edit names each of its tensors once, where it
// declares it, and keeps the number that it gets; names are for files and messages.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "model/sites.h"

namespace graft {

// One of an edit's tensors: its index among the tensors that the edit declared.
struct ParamId {
  int32_t number = -1;  // -1: the edit has no such tensor
};

constexpr ParamId param_at(size_t number) { return {static_cast<int32_t>(number)}; }

// Tensors by ParamId. A tensor that is not there is undefined.
class TensorList {
 public:
  TensorList() = default;
  explicit TensorList(size_t count) : tensors_(count) {}
  TensorList(std::initializer_list<at::Tensor> tensors) : tensors_(tensors) {}

  at::Tensor& operator[](ParamId id) { return tensors_.at(static_cast<size_t>(id.number)); }
  const at::Tensor& operator[](ParamId id) const {
    return tensors_.at(static_cast<size_t>(id.number));
  }
  size_t size() const { return tensors_.size(); }
  auto begin() { return tensors_.begin(); }
  auto begin() const { return tensors_.begin(); }
  auto end() { return tensors_.end(); }
  auto end() const { return tensors_.end(); }
  void append(at::Tensor tensor) { tensors_.push_back(std::move(tensor)); }
  void append(const TensorList& more) { tensors_.insert(tensors_.end(), more.begin(), more.end()); }

 private:
  std::vector<at::Tensor> tensors_;
};

// How an edit sees its tensors. A view: the list must outlive it.
class Params {
 public:
  using Renumber = std::function<int32_t(int32_t)>;

  explicit Params(const TensorList& tensors) : tensors_(&tensors) {}

  at::Tensor operator[](ParamId id) const;  // Requires: it is there
  bool has(ParamId id) const;
  // What an edit inside a combinator sees: its tensors begin at number `first`.
  Params from(size_t first) const;
  // The same tensors under other numbers: `id` is looked up as renumbered(id). In this way the
  // members that a route draws from their banks look like the params of one edit. Requires: these
  // params are not renumbered yet.
  Params through(Renumber renumbered) const;
  // What one expert sees, if each tensor holds several experts along its first dimension.
  Params expert(int64_t index) const;

 private:
  const at::Tensor* find(ParamId id) const;

  const TensorList* tensors_;
  int32_t first_ = 0;
  std::shared_ptr<const Renumber> renumbered_;
  int32_t inner_ = 0;  // added to a number before it is renumbered
  int64_t expert_ = -1;
};

// A T for each site of an edit.
template <class T>
class BySite {
 public:
  T& operator[](const Site& site) {
    const auto index = static_cast<size_t>(site.index);
    if (index >= cells_.size()) cells_.resize(index + 1);
    return cells_[index];
  }
  const T& at(const Site& site) const { return cells_.at(static_cast<size_t>(site.index)); }

 private:
  std::vector<T> cells_;
};

}  // namespace graft
