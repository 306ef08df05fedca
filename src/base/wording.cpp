#include "base/wording.h"

#include <algorithm>
#include <charconv>
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

std::optional<double> finite_number(std::string_view text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const bool is_number = error == std::errc{} && stop == end && std::isfinite(value);
  return is_number ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc{} && stop == end ? std::optional(value) : std::nullopt;
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

std::optional<int64_t> bytes_of(const std::string& text) {
  constexpr double kMost = 1e18;
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{}) return std::nullopt;
  std::string unit;
  for (const char* at = stop; at != end; ++at) {
    if (*at != ' ') unit += static_cast<char>(*at & ~0x20);  // in capitals
  }
  if (unit.ends_with('B')) unit.pop_back();
  const std::string_view units = "KMGT";
  const size_t place = unit.empty() ? 0 : units.find(unit) + 1;
  if (unit.size() > 1 || (place == 0 && !unit.empty())) return std::nullopt;
  const double bytes = value * std::pow(1000.0, static_cast<double>(place));
  if (!(bytes >= 0 && bytes <= kMost)) return std::nullopt;
  return static_cast<int64_t>(std::llround(bytes));
}

}  // namespace graft
