#include "train/loss_course.h"

#include <algorithm>
#include <sstream>

#include "base/spelling.h"
#include "base/wording.h"
#include "data/metrics.h"

namespace graft {

namespace {

constexpr double kOfBlind = 0.95, kOfFirst = 0.99;

}  // namespace

LossCourse loss_course(const std::vector<double>& losses, std::optional<double> blind) {
  const size_t tenth = std::max<size_t>(1, losses.size() / 10);
  const Values all(losses);
  return {mean(all.first(tenth)), mean(all.last(tenth)), blind};
}

bool has_hardly_fallen(const LossCourse& course) {
  return course.blind ? course.last > kOfBlind * *course.blind
                      : course.last > kOfFirst * course.first;
}

std::string flat_loss_warning(const LossCourse& course, const RunConfig& config) {
  const std::string beside = course.blind ? number_text(*course.blind) + " without reading the rows"
                                          : number_text(course.first) + " at the start";
  return "the loss hardly left its start: " + number_text(course.last) + " over the last steps, " +
         beside + ". Try " +
         setting_text("learning_rate=" + number_text(10 * config.learning_rate)) + " (now " +
         number_text(config.learning_rate) +
         ") or more epochs; where the loss rose, learning_rate=" +
         number_text(config.learning_rate / 10) + "; graft train " + option_name("find_rate") +
         " looks for a rate";
}

Node to_node(const LossCourse& course) {
  return Node::map({{"first", Node::number(course.first)},
                    {"last", Node::number(course.last)},
                    {"blind", Node::number_or_null(course.blind)}});
}

std::vector<double> logged_losses(const Path& log) {
  std::vector<double> losses;
  std::istringstream lines(read_file(log));
  for (std::string line; std::getline(lines, line);) {
    const Node event = parse_json(line, log.string());
    const Node *kind = event.find("event"), *loss = event.find("loss");
    if (kind == nullptr || kind->scalar != "step" || loss == nullptr) continue;
    losses.push_back(loss->as_number().value_or(0));
  }
  return losses;
}

}  // namespace graft
