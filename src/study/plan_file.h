// STUDY.yaml: which methods are compared on which tasks, over which sizes, seeds and settings.
//
//   study: few-shot
//   model: models/minilm
//   methods: {lora: lora, small: {adapter: lora, set: {rank: 2}}, head: head}
//   tasks: {cola: {task: cola, data: glue/CoLA}}
//   set: {epochs: 10}                        # of every member
//   grid: {rows: [100, 500], seed: [1, 2, 3]}   # every value with every other
//   together: [{batch_size: [8, 32], learning_rate: [1e-3, 2e-3]}]   # lists that go in step
//
// Here it is read and multiplied out; nothing is opened but the file itself.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/document.h"
#include "base/files.h"
#include "study/search.h"

namespace graft {

// A setting of a run or an edit, as --set has it, and where the file says so.
struct StudySetting {
  std::string key;    // "epochs", "adapter.rank", "data.rows"
  std::string value;  // a YAML text
  std::string place;  // "STUDY.yaml:7:12"
};

// A run of the study, as the file describes it.
struct MemberDraft {
  std::string name;                                          // "lora, cola, rows 100, seed 1"
  std::string folder;                                        // the same as a name on a disk
  std::vector<std::pair<std::string, std::string>> factors;  // method, task, others
  std::string adapter;                        // a preset or a file; empty where `definition` stands
  std::string definition;                     // a YAML text
  std::string task, data, train, eval, test;  // of a task the paths that are given
  std::vector<StudySetting> settings;
  std::string method_place, task_place;
};

struct StudyFile {
  std::string name, model;
  std::vector<std::string> ignored_keys;
  std::string source;       // for messages
  std::string model_place;  // "STUDY.yaml:2:8"
  std::string text;
  std::vector<MemberDraft> members;
  std::optional<SearchPlan> search = {};
};

// Throws InputError listing every fault with line and column: unknown keys, empty lists, values
// that stand twice, a setting that two places give, lists of `together` that differ in length,
// methods and tasks that are not there.
StudyFile parse_study(const std::string& text, const std::string& source);
StudyFile read_study(const Path& path);

}  // namespace graft
