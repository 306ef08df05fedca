// Internal to src/study.
//
// report.html as the build has put it into the program. @CHARTS@ stands where the charting library
// goes, which may be empty, and behind it @DATA@ where the studies do.
#pragma once

#include <string_view>

namespace graft {

extern const std::string_view kPage, kCharts;

}  // namespace graft
