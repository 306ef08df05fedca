// The rows that an evaluation got most wrong, for people to read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "infer/evaluate.h"

namespace graft {

struct Mistake {
  const Example* example = nullptr;  // of the data that was judged
  std::string expected, answer;      // labels, values, options or texts
  // How wrong, by the kind of task. Classification: the probability of the right label, the least
  // first. Regression: answer minus value, the largest in size first. Choice: score of the answer
  // minus that of the right option, the largest first. Generation: the row's own score by
  // `measure`, the worst first.
  double size = 0;
};

struct Mistakes {
  std::string measure;  // what `size` is: "probability", "error", "margin"; of texts a metric
  std::vector<Mistake> worst;
  int64_t count = 0;  // of all rows that are wrong; of a regression of all rows
};

// At most `most` of them, the worst first, of equals the first in the file. A text is wrong where
// its own score by the task's first metric is not 1; metrics that no single text has (bleu, nist,
// cider) give way to rouge_l, and perplexity alone gives none.
Mistakes find_mistakes(const Task& task, const EvalData& data, const Evaluation& evaluation,
                       int64_t most);

}  // namespace graft
