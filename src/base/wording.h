// Numbers as people read and write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace graft {

// "row" of one, "rows" of any other count.
std::string plural(int64_t count, const std::string& noun);

// "1 row", "12,345 rows".
std::string counted(int64_t count, const std::string& noun);

// "12,345".
std::string count_text(int64_t count);

// Four significant digits: "0.9142", "1.235e-07".
std::string number_text(double value);

// "1h 02m", "3m 20s", "12s".
std::string duration_text(double seconds);

// What a text says as a whole: "8", "-1.5", "3e-2"; nothing of another text or of what is not
// finite.
std::optional<double> finite_number(std::string_view text);
// The same of a whole number: "8", "-12", "007"; nothing of "8.0", "+8" or what int64_t cannot
// hold.
std::optional<int64_t> whole_number(std::string_view text);

// "1.24 GB", "340 MB", "12 kB".
std::string bytes_text(int64_t bytes);
// What such a text says: "8G", "1.5 GB", "500M", "12 kB", "4096"; nothing of another.
std::optional<int64_t> bytes_of(const std::string& text);

}  // namespace graft
