// What a run will cost, from config.json alone: parameters, floating-point operations and peak
// memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "edit/adapter.h"
#include "feed/dataset.h"
#include "model/trunk.h"
#include "train/config.h"
#include "train/footprint.h"
#include "train/inputs.h"

namespace graft {

// The uses in the order of tables, and their names there ("experts": of stochastic mixtures and
// routers, without the routers' own tensors).
constexpr ParamUse kParamUses[] = {ParamUse::kExpert, ParamUse::kRouter, ParamUse::kGate,
                                   ParamUse::kHead, ParamUse::kOther};
const char* use_name(ParamUse use);

struct PlanRow {
  std::string edit;  // "0.lora", "head"
  std::string
      part;  // the site's part name ("attn.q"), or the tensor's own where all sites share it
  ParamUse use = ParamUse::kOther;
  int64_t parameters = 0;  // trained
};

struct Plan {
  std::vector<PlanRow> rows;
  int64_t trunk_parameters = 0;
  int64_t edit_parameters = 0;  // trained, without the head
  int64_t kept_parameters = 0;  // what is left of them after training: of a mixture its mean, of a
                                // network for prefixes its result
  int64_t head_parameters = 0;
  int64_t stored_parameters = 0;  // in adapter.safetensors
  double forward_flops =
      0;  // per token, prompt or target: trunk, edits and the layer over a vocabulary
  double training_flops = 0;  // forward and backward, of all passes
  Footprint memory = {};      // resident, in training

  int64_t parameters_for(ParamUse use) const;
};

Plan make_plan(const Adapter& adapter, const ModelConfig& config, const PlanShape& shape);

// How often the rows of a step pass: twice with a consistency loss, where the task has one.
int64_t passes_of(const Objective& objective, const Adapter& adapter);

// Of a run: its batches have the mean length of its rows, and the largest that is to be expected.
Plan make_plan(const RunInputs& inputs);

}  // namespace graft
