#include "cli/rates.h"

#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/wording.h"

namespace graft {

namespace {

constexpr size_t kLines = 25;
constexpr int kBar = 40;

// One significant digit: 0.00347 -> 0.003. More would say more than the test knows.
double rounded(double rate) {
  const double unit = std::pow(10.0, std::floor(std::log10(rate)));
  return std::round(rate / unit) * unit;
}

void print_table(const RateTest& test) {
  double most = 0;
  for (const double loss : test.losses) most = std::max(most, loss);
  const size_t every = std::max<size_t>(1, (test.rates.size() + kLines - 1) / kLines);
  std::printf("%12s %10s\n", "rate", "loss");
  for (size_t i = 0; i < test.rates.size(); i += every) {
    const int length = most > 0 ? static_cast<int>(std::lround(kBar * test.losses[i] / most)) : 0;
    std::printf("%12s %10s  %s\n", number_text(test.rates[i]).c_str(),
                number_text(test.losses[i]).c_str(),
                std::string(static_cast<size_t>(length), '#').c_str());
  }
}

}  // namespace

int find_rate(RunInputs inputs, Verbosity verbosity) {
  RateTestOptions options;
  Progress progress("step", options.steps, 0, verbosity);
  options.progress = [&](int64_t done) { progress.update(done, "looking for a rate"); };
  const double now = inputs.config.learning_rate;
  const RateTest test = test_rates(std::move(inputs), options);
  progress.finish();
  print_table(test);
  if (test.suggestion) {
    std::printf("suggested: --set learning_rate=%s (now %s): the middle of the fall\n",
                number_text(rounded(*test.suggestion)).c_str(), number_text(now).c_str());
  } else {
    std::printf(
        "no rate makes the loss fall within %lld steps: look at the labels, the lengths and where "
        "the adapter acts\n",
        static_cast<long long>(options.steps));
  }
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace graft
