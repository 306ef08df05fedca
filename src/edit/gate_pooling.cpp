// The pooling of a gate: which rows of a text its value is the mean of.
//
// pool: mean         over the tokens of the sequence
//       mean_all     over all of its rows; with padded_to, over the pad rows that the released code
//                    appended (their keys stay masked)
//       causal_mean  for row t the mean over the tokens up to t; a row before every token has its
//                    own value
//       prompt_mean  over the tokens of the prompt (in an encoder-decoder: over its start
//                    token), for all rows that follow too
//       auto         mean in an encoder, causal_mean in a decoder; around a prefix, which has one
//                    weight for all rows, prompt_mean in a decoder
// In a decoder the first two would show a token those that it is to predict (published
// implementations do); they are refused there, but for a task with a head, which predicts no
// tokens.
// Departs: the released code counts padding, so the value depends on the batch's shape; the mean
// over tokens is the default here.
#include "edit/gate_pooling.h"

#include <algorithm>

#include "base/error.h"

namespace graft {

namespace {

using Pooling = GatePooling::Kind;

constexpr Name<std::optional<Pooling>> kPoolings[] = {{std::nullopt, "auto"},
                                                      {Pooling::kMean, "mean"},
                                                      {Pooling::kMeanAll, "mean_all"},
                                                      {Pooling::kCausalMean, "causal_mean"},
                                                      {Pooling::kPromptMean, "prompt_mean"}};
constexpr Name<std::optional<Pooling>> kCentralPoolings[] = {{std::nullopt, "auto"},
                                                             {Pooling::kMean, "mean"},
                                                             {Pooling::kMeanAll, "mean_all"},
                                                             {Pooling::kPromptMean, "prompt_mean"}};

Reads reads_of(GatePooling::Kind kind) {
  switch (kind) {
    case GatePooling::Kind::kMean:
    case GatePooling::Kind::kMeanAll: return Reads::kSequence;
    case GatePooling::Kind::kCausalMean: return Reads::kEarlierRows;
    case GatePooling::Kind::kPromptMean: return Reads::kPrompt;
  }
  throw InternalError("unknown pooling of a gate");
}

bool sees_whole_text(GatePooling::Kind kind) { return reads_of(kind) == Reads::kSequence; }

}  // namespace

void GatePooling::Choice::visit(OptionVisitor& v) {
  const OptionHelp help =
      "how the rows of a text become one value; auto: mean, in a decoder causal_mean or "
      "prompt_mean";
  if (is_central) v.choice("pool", kind, kCentralPoolings, help);
  else v.choice("pool", kind, kPoolings, help);
  if (v.applies(kind == Kind::kMeanAll))
    v.integer("padded_to", padded_to, {0, longest},
              {"of mean_all: pad rows up to this length count, too; 0: none", "128, or what fits"});
}

GatePooling::Choice GatePooling::defaults(const EditTarget& target, bool is_central) {
  const int64_t longest = std::min<int64_t>(target.config.max_positions, 1 << 16);
  return {
      .is_central = is_central, .longest = longest, .padded_to = std::min<int64_t>(128, longest)};
}

GatePooling::GatePooling(Options& options, const Choice& choice, const EditTarget& target,
                         const std::vector<Site>& sites, Kind of_decoder)
    : choice_(choice) {
  const Site* refused = nullptr;
  for (const Site& site : sites) {
    const bool is_of_decoder = holds_decoder_rows(site, target.config);
    const Kind kind = choice.kind.value_or(is_of_decoder ? of_decoder : Kind::kMean);
    kinds_[site.index] = kind;
    if (is_of_decoder && !target.has_head && sees_whole_text(kind) && refused == nullptr)
      refused = &site;
    if (is_of_decoder || !target.config.has_decoder()) reads_ = std::max(reads_, reads_of(kind));
  }
  if (refused != nullptr) {
    options.fault(
        "pool",
        "by a mean over a whole text a decoder's token would see those that it is to predict (at " +
            refused->name + "): set it to " + word_of(kPoolings, of_decoder) + ", or leave it out");
  }
  const auto has_windows = [](const std::optional<StackConfig>& stack) {
    return stack && stack->local;
  };
  if (choice.kind == Kind::kMeanAll) padded_length_ = choice.padded_to;
  if (padded_length_ > 0 &&
      (has_windows(target.config.encoder) || has_windows(target.config.decoder)))
    options.fault("padded_to",
                  "pad rows far from every token see no key in blocks with windows: set it to 0");
  if (choice.kind != Kind::kMeanAll && options.has("padded_to"))
    options.fault("padded_to", "padding counts only with pool: mean_all");
}

bool GatePooling::has(Kind kind) const {
  return std::any_of(kinds_.begin(), kinds_.end(),
                     [kind](const auto& entry) { return entry.second == kind; });
}

RowsCounted GatePooling::counted(const Site& site) const {
  const Kind kind = at(site);
  return kind == Kind::kMeanAll      ? RowsCounted::kAll
         : kind == Kind::kPromptMean ? RowsCounted::kPromptTokens
                                     : RowsCounted::kTokens;
}

GatePooling::Choice GatePooling::described() const {
  Choice out = choice_;
  const Kind first = kinds_.empty() ? Kind::kMean : kinds_.begin()->second;
  const bool is_one = std::all_of(kinds_.begin(), kinds_.end(),
                                  [first](const auto& entry) { return entry.second == first; });
  if (is_one) out.kind = first;
  return out;
}

}  // namespace graft
