// What a run notes on demand (settings `record`): norms of gradients, drawn experts, how alike
// experts are, and what gates, routers and edits did with every row.
#pragma once

#include "edit/adapter.h"
#include "infer/evaluate.h"
#include "train/config.h"
#include "train/micro_batch.h"

namespace graft {

// Throws InputError listing every setting of `record` that was given and has nothing to note of
// this adapter. (Gradients are those of any.)
void check_recording(const RunConfig& config, const Adapter& adapter);

// {"0.lora": norm, ..., "head": norm} of the gradients that lie in the stored tensors, by edit.
Node gradient_norms(const Adapter& adapter, const NamedTensors& tensors);

// {NAME: [expert, ...]}: what each pass of a step drew, one after another.
Node drawn_node(const DrawnExperts& drawn);

// [1, 1] each, by the tensor's name without its expert, with ".cosine": the mean cosine of two
// experts' values, over all pairs; of scales, which start at one, of values - 1. An expert of zeros
// is alike to none.
NamedTensors expert_cosines(const Adapter& adapter, const NamedTensors& tensors);

// How the rows are evaluated that are recorded when the run is over.
void ask_for(const RecordConfig& record, PredictOptions& options);

// DIR/records/SIDE.jsonl; a side whose name has a slash lies in a folder below.
Path records_file(const Path& dir, const std::string& side);

// Writes that file and adds {SIDE: summary} to `all`, where something was recorded.
void write_records(const Path& dir, const std::string& side, const Dataset& data,
                   const Records& records, Node& all);

}  // namespace graft
