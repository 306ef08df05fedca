// The options of a stochastic mixture (stochastic.cpp).
#pragma once

#include <string>
#include <vector>

#include "base/option_visitor.h"

namespace graft {

enum class ExpertsInit { kIndependent, kCopies, kLayerCopies };
constexpr Name<ExpertsInit> kExpertsInits[] = {{ExpertsInit::kIndependent, "independent"},
                                               {ExpertsInit::kCopies, "copies"},
                                               {ExpertsInit::kLayerCopies, "layer_copies"}};

// Who draws one member of a bank together.
enum class Couple { kSite, kLayer };
constexpr Name<Couple> kCouples[] = {{Couple::kSite, "site"}, {Couple::kLayer, "layer"}};

enum class SecondPass { kFree, kOther };
constexpr Name<SecondPass> kSecondPasses[] = {{SecondPass::kFree, "free"},
                                              {SecondPass::kOther, "other"}};

enum class Scores { kEven, kLearned };
constexpr Name<Scores> kExpertScores[] = {{Scores::kEven, "even"}, {Scores::kLearned, "learned"}};

struct StochasticOptions {
  int64_t experts = 4;
  std::vector<std::string> share = {};
  ExpertsInit init = ExpertsInit::kIndependent;
  Couple couple = Couple::kSite;
  SecondPass second_pass = SecondPass::kFree;
  Scores scores = Scores::kEven;

  void visit(OptionVisitor& v) {
    v.integer("experts", experts, {1, 1024}, "number M of experts");
    v.texts("share", share,
            {"banks of tensors that all experts share, such as up, the second projection",
             "[up], where the edit has it"});
    v.choice("init", init, kExpertsInits,
             "every expert drawn anew, or all equal to the first, or those of all layers, too");
    v.choice("couple", couple, kCouples,
             "each site draws for itself, or the sites of a layer together, as released for "
             "queries and values");
    v.choice("second_pass", second_pass, kSecondPasses,
             "with two passes a step: whether the second may draw what the first drew");
    v.choice("scores", scores, kExpertScores,
             "experts are drawn, and their mean remains; or nothing is drawn, and a softmax of "
             "learned scores weighs them");
  }
};

}  // namespace graft
