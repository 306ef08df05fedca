// Options of other tools' training scripts: what is a flag there is a setting here.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace graft {

// " (did you mean '--set epochs=3'?)" for "--epochs" among the `words` of a command line, where the
// command takes settings; "--out" for "--output_dir"; else the nearest of the command's options.
std::string did_you_mean_option(const std::string& wrong, const std::vector<std::string>& words,
                                const CLI::App& command);

}  // namespace graft
