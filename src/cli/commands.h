// The commands of `graft`: each adds itself to the command line and runs when it was chosen.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace graft {

// What the chosen command will do; returns the exit code.
using Action = std::function<int()>;

void add_train(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
void add_predict(CLI::App& app, Action& action);
void add_generate(CLI::App& app, Action& action);
void add_sweep(CLI::App& app, Action& action);
void add_report(CLI::App& app, Action& action);
void add_collect(CLI::App& app, Action& action);
void add_steer(CLI::App& app, Action& action);
void add_trace(CLI::App& app, Action& action);
void add_plan(CLI::App& app, Action& action);
void add_average(CLI::App& app, Action& action);
void add_merge(CLI::App& app, Action& action);
void add_import(CLI::App& app, Action& action);
void add_export(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);

}  // namespace graft
