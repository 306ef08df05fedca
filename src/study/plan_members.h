// Internal to src/study.
//
// The parts of STUDY.yaml as they stand there, and the members that they multiply out to.
#pragma once

#include <string>
#include <vector>

#include "base/document.h"
#include "study/plan_file.h"

namespace graft {

// A method and a task as the file has them.
struct StudyMethod {
  std::string name, adapter, definition;
  std::vector<StudySetting> settings;
  std::string place;
};

struct StudyTask {
  std::string name, task, data, train, eval, test;
  std::vector<StudySetting> settings;
  std::string place;
};

// A list of the grid, or several that go in step: at each index a value of each.
struct StudyAxis {
  std::vector<std::string> keys;           // as the file has them
  std::vector<std::vector<Node>> columns;  // of each key

  size_t size() const { return columns.front().size(); }
};

struct StudyParts {
  std::string source;  // for messages
  std::vector<StudyMethod> methods;
  std::vector<StudyTask> tasks;
  std::vector<StudySetting> common;
  std::vector<StudyAxis> axes;
  std::vector<std::string> faults;  // that reading has found, with their places

  std::string place_of(const Node& node) const;  // "STUDY.yaml:7:12"
  void tell(const std::string& place, const std::string& message);
};

// What a key of the file is called among the settings of a run: "data.rows" of "rows".
std::string long_name(const std::string& key);

// "seed", "seeds.rows" and the like.
bool is_seed_setting(const std::string& key);

// "lora, cola, rows 100": the names of method and task, of other factors the value behind the name.
std::string factors_text(const std::vector<std::pair<std::string, std::string>>& factors);

// Where a study says what others call this setting: "methods: say it"; "" of one that may be given.
std::string said_elsewhere(const std::string& key);

// "0.001" of a plain 1e-3: one spelling of a number.
std::string shown_value(const Node& value);

// Every combination of the axes, the first moving slowest; methods and tasks that no axis chooses
// from are all taken. Throws InputError listing every fault: those of `parts`, names that are not
// there, settings that two places give or that stand elsewhere, too many members.
std::vector<MemberDraft> members_of(StudyParts parts);

}  // namespace graft
