// The rows of a run: which are read, in which order they are taken, what evaluates, what is shared.
#pragma once

#include <string>

#include "train/inputs.h"

namespace graft {

// Throws InputError where seeds.rows is given and no rows are drawn by it.
void check_row_seed(const RunConfig& config);

// A task of those that share one adapter, and so have no head: all answer in words. Throws
// InputError for another one, with `key` as the place of `name`.
Task load_text_task(const std::string& name, const std::string& key, const Path& tasks_dir);

// Fills train, parts, eval, test and eval_tasks of `in`, whose config, task, text and max_length
// stand. Rows that no run of `shared` has read yet are read and tokenised; the others are taken
// from there. Throws InputError for rows that are missing, too few or not the task's.
void load_rows(const Path& tasks_dir, const ModelConfig& model, SharedRows& shared, RunInputs& in);

}  // namespace graft
