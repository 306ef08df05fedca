// Scores of generated texts and of chosen options, by a task's list of metrics.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/metrics.h"
#include "data/task.h"

namespace graft {

// The metrics of a generation, but for perplexity, which is not of its texts: exp of the mean loss
// of the target tokens. Each output is first cut before the task's first stop text and stripped of
// white space at both ends (cut_output); references are stripped too.
//   exact_match    share of outputs equal to one of their references
//   bleu ter nist rouge_l cider    text_metrics.h, with all references of an example
//                                  (join_references)
//   answer_after answer_option answer_number answer_letter    share of outputs right by that rule
//                                                             (answers.h), against the row's answer
// Throws InputError when outputs and examples differ in number, there are none, or an example lacks
// what a metric needs, naming it.
std::vector<Score> score_texts(const Task& task, const std::vector<Example>& examples,
                               const std::vector<std::string>& outputs);

// The metrics of a choice, `chosen` being an option's index for each example.
//   accuracy            share of rows whose chosen option is the right one
//   accuracy_median     median over groups (templates) of their accuracies; of an even number, the
//                       mean of the middle two
//   accuracy_by_group   one score a group, named "accuracy[GROUP]", in order of first appearance
// Throws InputError as above, and for an example without a right option.
std::vector<Score> score_choices(const Task& task, const std::vector<Example>& examples,
                                 std::span<const int64_t> chosen);

// The middle value; of an even number, the mean of the middle two. Throws InputError when there is
// none.
double median(std::vector<double> values);

}  // namespace graft
