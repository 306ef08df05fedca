// What is wrong with a search before anything of it runs.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "study/search_run.h"
#include "study/search_trials.h"

namespace graft {

namespace {

// Of a list its values; of a range its ends, and a value between them that is no whole number, as
// the drawn ones are: a setting that takes whole numbers alone is told of here.
std::vector<std::string> values_of(const SearchAxis& axis) {
  if (!axis.values.empty()) return axis.values;
  if (axis.is_whole)
    return {std::to_string(std::llround(axis.low)), std::to_string(std::llround(axis.high))};
  constexpr double kGoldenSection = 0.618034;
  const double between = axis.low + (axis.high - axis.low) * kGoldenSection;
  return {Node::number(axis.low).scalar, Node::number(between).scalar,
          Node::number(axis.high).scalar};
}

// The settings of a run of the trial. What is wrong with it is told where the file says the setting
// that the message is about, else where `axis` stands.
Node resolved_trial(const StudyFile& study, const SearchGroup& group, const TrialSettings& settings,
                    const SearchAxis& axis, StudyEngine& engine) {
  const SearchPlan& search = *study.search;
  try {
    return engine.resolve(study,
                          draft_of(search, group, Trial{0, 0, settings}, search.seeds.front()));
  } catch (const InputError& error) {
    const std::string message = error.what();
    const auto named =
        std::find_if(search.axes.begin(), search.axes.end(),
                     [&](const SearchAxis& other) { return names_setting(message, other.key); });
    const SearchAxis& wrong = named == search.axes.end() ? axis : *named;
    throw InputError(wrong.place + ": search of " + quote(group.name) + ": " + message);
  }
}

// Epochs count nothing where the length is one of steps.
void check_length(const SearchPlan& search, const SearchGroup& group, const Node& settings) {
  const bool is_budget = search.halving && search.halving->key == "epochs";
  const bool is_searched = std::any_of(search.axes.begin(), search.axes.end(),
                                       [](const SearchAxis& axis) { return axis.key == "epochs"; });
  const bool counts_steps = (search.halving && search.halving->key == "max_steps") ||
                            settings.find_integer("max_steps").value_or(0) != 0;
  if ((is_budget || is_searched) && counts_steps)
    throw InputError(place_of_key(search, "epochs") + ": search of " + quote(group.name) +
                     ": epochs change nothing where max_steps counts instead; search that, or "
                     "leave max_steps out");
}

// Each value of an axis with the first ones of the others: trials that may all be asked for.
void check_trials(const StudyFile& study, const SearchGroup& group, StudyEngine& engine) {
  const std::vector<SearchAxis>& axes = study.search->axes;
  TrialSettings first;
  for (const SearchAxis& axis : axes) first.emplace_back(axis.key, values_of(axis).front());
  check_length(*study.search, group, resolved_trial(study, group, first, axes.front(), engine));
  for (size_t i = 0; i < axes.size(); ++i) {
    TrialSettings settings = first;
    for (const std::string& value : values_of(axes[i])) {
      settings[i].second = value;
      resolved_trial(study, group, settings, axes[i], engine);
    }
  }
}

}  // namespace

void check_search(const StudyFile& study, StudyEngine& engine) {
  for (const MemberDraft& member : study.members) {
    bool has_seed = false;
    for (const StudySetting& setting : member.settings) {
      for (const SearchAxis& axis : study.search->axes) {
        if (axis.key == setting.key)
          throw InputError(axis.place + ": the setting " + quote(axis.key) +
                           " is searched and given at " + setting.place + "; leave one out");
      }
      if (!is_seed_setting(setting.key)) continue;
      has_seed |= setting.key == "seed";
      for (const int64_t seed : study.search->seeds) {
        if (setting.value == std::to_string(seed))
          throw InputError(
              study.source + ": search: the seed " + setting.value + " is one of the members' (" +
              setting.place +
              "): settings that were chosen by a seed look better on it; give another");
      }
    }
    const bool takes_usual =
        !has_seed && std::count(study.search->seeds.begin(), study.search->seeds.end(), 42) > 0;
    if (takes_usual)
      throw InputError(study.source +
                       ": search: the seed 42 is the one of members without a seed; give another");
  }
  for (const SearchGroup& group : groups_of(study)) check_trials(study, group, engine);
}

}  // namespace graft
