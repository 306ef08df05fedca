// Internal to src/session.
//
// Questions of a program as rows of a task, and what answers them as answers.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "data/task.h"
#include "graft/session.h"
#include "infer/choices.h"
#include "infer/samples.h"

namespace graft {

// The task as a program sees it.
TaskInfo info_of(const Task& task);

// Of those that one task answers, `asked` by their index, in order. Throws InputError where a
// column that the task reads is missing; "question:N: ..." of a fault of one, counted from 1 among
// all.
std::vector<Example> examples_of(const std::vector<Question>& questions,
                                 const std::vector<size_t>& asked, const Task& task);

// Throws InputError where a word or number of it is none, or is given beside what it does not
// belong to.
SampleOptions sample_options(const SampleRequest& request);

// Of every row; by_sample: [samples, rows, outputs], several samples.
std::vector<AnswerUncertainty> uncertainties_of(const Task& task, const at::Tensor& by_sample);

// Of one row: logits [outputs] float32 of a head, or the scores of its options.
Answer answer_of(const Task& task, const at::Tensor& logits);
Answer answer_of(const Example& example, const std::vector<double>& scores, int64_t chosen);

}  // namespace graft
