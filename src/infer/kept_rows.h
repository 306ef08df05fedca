// What the trunk below an adapter makes of the rows of a data set, kept from pass to pass: where
// nothing below a point is changed, trained or dropped out, it is the same in every epoch.
//
// A row's states do not depend on the rows beside it, so that a pass that begins with kept rows has
// the bits of one that begins with the tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "edit/adapter.h"
#include "feed/dataset.h"
#include "model/trunk.h"

namespace graft {

// Which rows of a trunk are kept, and for which passes.
struct KeptPlace {
  TrunkPoint at;
  RowLayout layout;      // that the adapter needs
  bool is_text = false;  // passes of a language model, else of a classifier

  friend auto operator<=>(const KeptPlace&, const KeptPlace&) = default;
};

// The highest point below the adapter where rows may be kept; nothing where it changes the
// embeddings or the first block. `is_text`: the task is answered in words.
std::optional<KeptPlace> kept_place(const Adapter& adapter, const ModelConfig& config,
                                    bool is_text);

// Bytes that `rows` rows take there, with `tokens` tokens in all and `targets` of an
// encoder-decoder's decoder.
int64_t kept_bytes(const KeptPlace& place, const ModelConfig& config, Precision precision,
                   double rows, double tokens, double targets);
int64_t kept_bytes(const KeptPlace& place, const ModelConfig& config, Precision precision,
                   const Dataset& data);

// Used by one thread.
class KeptRows {
 public:
  KeptRows(std::shared_ptr<const Model> model, std::shared_ptr<const Dataset> data,
           KeptPlace place);

  const KeptPlace& place() const { return place_; }
  // Puts the rows of a lane, by their index in the data set, behind those that `known` has.
  // Computes what no pass has asked for before. Nothing is differentiated.
  void add(const std::vector<int64_t>& rows, KnownRows& known);

 private:
  void compute(const std::vector<int64_t>& rows);
  void compute_filler();
  // Of the first stack, and of the one with the point: what is read there of each sequence.
  struct Packs {
    Pack first, last;
  };
  ForwardResult forward_bare(std::vector<const Sequence*> sequences, int64_t round_rows_to,
                             Packs& packs) const;

  std::shared_ptr<const Model> model_;
  std::shared_ptr<const Dataset> data_;
  KeptPlace place_;
  KnownRows all_;  // by row of the data set; undefined where none was asked for
};

// Kept rows that several runs of a process read, while one of them holds them.
class KeptPool {
 public:
  std::shared_ptr<KeptRows> get(const std::shared_ptr<const Model>& model,
                                const std::shared_ptr<const Dataset>& data, const KeptPlace& place);

 private:
  std::map<std::tuple<const Model*, const Dataset*, KeptPlace>, std::weak_ptr<KeptRows>> kept_;
};

}  // namespace graft
