#include "base/wording.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace graft {

std::string plural(int64_t count, const std::string& noun) {
  return count == 1 ? noun : noun + "s";
}

std::string counted(int64_t count, const std::string& noun) {
  return count_text(count) + " " + plural(count, noun);
}

std::string count_text(int64_t count) {
  std::string digits = std::to_string(count);
  for (int64_t i = static_cast<int64_t>(digits.size()) - 3; i > (count < 0 ? 1 : 0); i -= 3)
    digits.insert(static_cast<size_t>(i), ",");
  return digits;
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::lround(std::max(0.0, seconds)));
  char text[48];
  if (whole >= 3600) std::snprintf(text, sizeof text, "%ldh %02ldm", whole / 3600, whole / 60 % 60);
  else if (whole >= 60) std::snprintf(text, sizeof text, "%ldm %02lds", whole / 60, whole % 60);
  else std::snprintf(text, sizeof text, "%lds", whole);
  return text;
}

std::string bytes_text(int64_t bytes) {
  char text[32];
  if (bytes >= 1'000'000'000)
    std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  else if (bytes >= 1'000'000)
    std::snprintf(text, sizeof text, "%.0f MB", static_cast<double>(bytes) / 1e6);
  else std::snprintf(text, sizeof text, "%ld kB", (bytes + 999) / 1000);
  return text;
}

}  // namespace graft
