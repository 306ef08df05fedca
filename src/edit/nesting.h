// Which combinators may stand around an edit. By default none may: a new edit is refused inside a
// combinator until it says that it has what the combinator needs.
#pragma once

namespace graft {

struct Nesting {
  // Each member is the reason why not, as messages and the table of compositions give it; null if
  // the combinator may stand around the edit.

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

// For an edit that may stand inside all of them.
inline constexpr Nesting kNestsAnywhere = {nullptr, nullptr, nullptr};
// For an edit that acts through `rewrite` alone.
inline constexpr Nesting kNestsNowhere = {kReplacesSharedWeights, kReplacesSharedWeights,
                                          kReplacesSharedWeights};

}  // namespace graft
