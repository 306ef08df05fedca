#include "base/error.h"

#include <algorithm>
#include <numeric>

#include "base/ascii.h"
#include "base/printable.h"
#include "base/wording.h"

namespace graft {

void ensure(bool claim, std::string_view message, const char* file, int line) {
  if (claim) return;
  constexpr std::string_view kSources = "/src/";
  std::string_view place = file;
  if (const size_t found = place.rfind(kSources); found != std::string_view::npos)
    place.remove_prefix(found + kSources.size());
  throw InternalError(std::string(message) + " (" + std::string(place) + ":" +
                      std::to_string(line) + ")");
}

void with_context(std::string_view doing, const std::function<void()>& f) {
  const auto extended = [&](const Error& e) {
    return std::string(e.what()) + "\n  while " + std::string(doing);
  };
  try {
    f();
  } catch (const InputError& e) {
    throw InputError(extended(e));
  } catch (const IoError& e) {
    throw IoError(extended(e));
  } catch (const InternalError& e) {
    throw InternalError(extended(e));
  }
}

std::string quote(std::string_view text) { return '"' + printable(text, 80, "\"\\") + '"'; }

namespace {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j - 1] + 1, above + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view wrong, const std::vector<std::string>& candidates) {
  // Of letters that differ in case alone none is wrong. The distance is quadratic.
  const auto compared = [](std::string_view word) {
    return lower_ascii(std::string(word.substr(0, 64)));
  };
  const std::string word = compared(wrong);
  const std::optional<double> number = finite_number(wrong);
  const std::string* best = nullptr;
  size_t best_distance = std::min(std::max<size_t>(2, word.size() / 3) + 1,
                                  word.size());  // never a wholly different word
  for (const std::string& candidate : candidates) {
    const std::optional<double> other = number ? finite_number(candidate) : std::nullopt;
    if (other && *other != *number) continue;  // near in digits, but another amount
    const size_t distance = other ? 0 : edit_distance(word, compared(candidate));
    if (distance < best_distance) {
      best_distance = distance;
      best = &candidate;
    }
  }
  return best == nullptr ? "" : " (did you mean '" + *best + "'?)";
}

std::string joined(const std::vector<std::string>& words, std::string_view last) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " " + std::string(last) + " " : ", ";
    out += words[i];
  }
  return out;
}

std::string joined_first(const std::vector<std::string>& words, size_t most) {
  if (words.size() <= most) return joined(words);
  return joined({words.begin(), words.begin() + static_cast<std::ptrdiff_t>(most)}) + ", ...";
}

}  // namespace graft
