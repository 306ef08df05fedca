#include "edit/token_choice.h"

#include "base/error.h"

namespace graft {

namespace {

constexpr Name<Clamp> kClamps[] = {
    {Clamp::kCode, "code"}, {Clamp::kPaper, "paper"}, {Clamp::kLength, "length"}};

}  // namespace

void TokenChoice::visit(OptionVisitor& v) {
  v.text("positions", positions,
         "tokens to edit: fN the first, lN the last, fN+lM both, last, all");
  v.choice("clamp", clamp, kClamps,
           "positions of short texts: at most half a side, as in released code; as in the paper; "
           "or all there are");
  v.boolean("skip_last", skips_last,
            "positions count the prompt without its last token, as the dataset classes of "
            "pyreft's library do, but not its scripts");
}

void TokenChoice::match(Options& options, const std::vector<Site>& sites,
                        const ModelConfig& config) {
  try {
    parsed = parse_positions(positions);
  } catch (const InputError& error) {
    options.fault("positions", error.what());
  }
  for (const Site& site : sites) {
    if (parsed.is_all || !config.has_encoder() || !holds_decoder_rows(site, config)) continue;
    options.fault("sites",
                  "positions count the tokens of a prompt, and an encoder-decoder's decoder reads "
                  "none: choose sites of the "
                  "encoder (such as enc.*.out) or positions: all; found " +
                      site.name);
    break;
  }
  if (skips_last && parsed.is_all)
    options.fault("skip_last", "positions: all counts nothing; leave it out");
}

}  // namespace graft
