#include "study/search_trials.h"

#include <algorithm>

namespace graft {

namespace {

bool has_setting(const std::vector<StudySetting>& settings, const std::string& key) {
  return std::any_of(settings.begin(), settings.end(),
                     [&](const StudySetting& setting) { return setting.key == key; });
}

}  // namespace

std::vector<SearchGroup> groups_of(const StudyFile& study) {
  std::vector<SearchGroup> groups;
  for (size_t i = 0; i < study.members.size(); ++i) {
    auto factors = study.members[i].factors;
    std::erase_if(factors, [](const auto& factor) { return is_seed_setting(factor.first); });
    const std::string name = factors_text(factors);
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const SearchGroup& each) { return each.name == name; });
    if (group == groups.end()) {
      group = groups.insert(groups.end(), {name, study.members[i], false, {}});
      std::vector<StudySetting>& settings = group->draft.settings;
      group->draws_rows = has_setting(settings, "seeds.rows");
      std::erase_if(settings,
                    [](const StudySetting& setting) { return is_seed_setting(setting.key); });
    }
    group->members.push_back(i);
  }
  return groups;
}

const std::string& place_of_key(const SearchPlan& search, const std::string& key) {
  for (const SearchAxis& axis : search.axes) {
    if (axis.key == key) return axis.place;
  }
  const bool is_budget = search.halving && search.halving->key == key;
  return is_budget ? search.halving->place : search.axes.front().place;
}

MemberDraft draft_of(const SearchPlan& search, const SearchGroup& group, const Trial& trial,
                     int64_t seed) {
  MemberDraft draft = group.draft;
  const auto set = [&](const std::string& key, const std::string& value) {
    draft.settings.push_back({key, value, place_of_key(search, key)});
  };
  for (const auto& [key, value] : trial.settings) {
    std::erase_if(draft.settings,
                  [&key = key](const StudySetting& setting) { return setting.key == key; });
    set(key, value);
  }
  set("seed", std::to_string(seed));
  if (group.draws_rows) set("seeds.rows", std::to_string(seed));
  const std::string number = std::to_string(trial.candidate + 1);
  draft.name = group.name + ", try " + number + ", rung " + std::to_string(trial.rung + 1) +
               ", seed " + std::to_string(seed);
  draft.folder +=
      "-try" + number + "-rung" + std::to_string(trial.rung + 1) + "-seed" + std::to_string(seed);
  return draft;
}

}  // namespace graft
