// Which combinators may stand around an edit. Closed by default: a new edit is refused inside each
// of them until it says that it has what that combinator needs.
#pragma once

namespace graft {

struct Nesting {
  // Each is the reason why not, as it stands in messages and in the table of compositions; null
  // where it may.

  // A gate: a number from outside weighs the change of every row (`Weight`).
  const char* no_gate = "its file does not say that a weight from outside acts on it";
  // A stochastic mixture: the mean of its tensors is a sensible edit.
  const char* no_stochastic = "its file does not say that the mean of its tensors makes sense";
  // A router: its tensors may be stacked, and `blend` mixes the experts row by row.
  const char* no_router = "its file does not say that its tensors can be stacked and mixed";
};

// Reasons that several edits share.
inline constexpr const char* kReplacesSharedWeights =
    "it changes the trunk's own weights, which all rows share";
inline constexpr const char* kChoosesExperts =
    "both choose among experts: one mixture with more experts says the same";

// May stand inside all of them.
inline constexpr Nesting kNestsAnywhere = {nullptr, nullptr, nullptr};
// Acts through `rewrite` alone.
inline constexpr Nesting kNestsNowhere = {kReplacesSharedWeights, kReplacesSharedWeights,
                                          kReplacesSharedWeights};

}  // namespace graft
