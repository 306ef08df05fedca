// What the members of a study read, loaded once for all that read the same.
#pragma once

#include <memory>

#include "base/files.h"
#include "study/store.h"
#include "train/inputs.h"

namespace graft {

class StudyInputs {
 public:
  // `tasks`: the folder of the ready tasks.
  explicit StudyInputs(Path tasks) : tasks_(std::move(tasks)) {}

  // Whether a member reads the model that is in memory, or there is none.
  bool shares_model(const RunConfig& config) const;
  // With the model in memory where it is the run's, else with the run's from now on. Throws
  // InputError.
  RunInputs load(const RunConfig& config);
  const Model& model() const { return *model_; }  // of the last one
  // Lets go of model and rows: the next member loads its own.
  void release() {
    model_.reset();
    rows_ = {};
  }

 private:
  Path tasks_;
  std::shared_ptr<const Model> model_;
  SharedRows rows_;
};

// The settings of a member that is trained in `folder`.
RunConfig config_of(const PlannedMember& member, const Path& folder);

}  // namespace graft
