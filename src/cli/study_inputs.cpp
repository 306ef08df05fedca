#include "cli/study_inputs.h"

#include "base/error.h"

namespace graft {

bool StudyInputs::shares_model(const RunConfig& config) const {
  return model_ == nullptr || is_model_of(*model_, config);
}

RunInputs StudyInputs::load(const RunConfig& config) {
  if (!shares_model(config)) model_.reset();
  RunInputs inputs = load_inputs(config, tasks_, model_, &rows_);
  model_ = inputs.model;
  return inputs;
}

RunConfig config_of(const PlannedMember& member, const Path& folder) {
  Node document = parse_json(member.settings, "member " + quote(member.name));
  document["out"] = Node::text(folder.string());
  return parse_run_config(document, Node::null(), "member");
}

}  // namespace graft
