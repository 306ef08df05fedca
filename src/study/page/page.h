// Internal to src/study.
//
// report.html as the build has put it into the program; @DATA@ stands where the studies go.
#pragma once

#include <string_view>

namespace graft {

extern const std::string_view kPage;

}  // namespace graft
