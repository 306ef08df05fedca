#include "cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/printable.h"
#include "base/wording.h"

namespace graft {

namespace {

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kPlainLine{10};
constexpr int64_t kBarWidth = 24;

}  // namespace

Progress::Progress(std::string what, int64_t total, int64_t done, Verbosity verbosity,
                   int64_t parts)
    : what_(std::move(what)),
      total_(total),
      done_(done),
      first_(done),
      parts_(parts),
      is_quiet_(verbosity == Verbosity::kQuiet),
      is_terminal_(::isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()),
      last_(start_) {}

void Progress::update(int64_t done, const std::string& detail) {
  done_ = done;
  const auto now = std::chrono::steady_clock::now();
  const bool is_due = is_terminal_ ? now - last_ >= kRedraw : now - last_ >= kPlainLine;
  if (is_quiet_ || (!is_due && done < total_)) return;
  last_ = now;
  draw(detail);
}

void Progress::draw(const std::string& detail) {
  const double elapsed =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const int64_t fresh = done_ - first_;
  const double left =
      fresh > 0 ? elapsed / static_cast<double>(fresh) * static_cast<double>(total_ - done_) : 0;
  const std::string counts =
      what_ + " " + count_text(done_ / parts_) + "/" + count_text(total_ / parts_);
  const std::string time = done_ < total_ && fresh > 0 ? "  " + duration_text(left) + " left" : "";
  if (!is_terminal_) {
    std::fprintf(stderr, "%s  %s%s\n", counts.c_str(), detail.c_str(), time.c_str());
    return;
  }
  const int64_t filled = total_ > 0 ? kBarWidth * done_ / total_ : kBarWidth;
  const std::string bar = std::string(static_cast<size_t>(filled), '#') +
                          std::string(static_cast<size_t>(kBarWidth - filled), '.');
  std::fprintf(stderr, "\r\033[K[%s] %s  %s%s", bar.c_str(), counts.c_str(), detail.c_str(),
               time.c_str());
  std::fflush(stderr);
}

void Progress::note(const std::string& line) {
  if (is_quiet_) return;
  finish();
  std::fprintf(stderr, "%s\n", message_text(line).c_str());
}

void Progress::warn(const std::string& warning) {
  finish();
  std::fprintf(stderr, "warning: %s\n", message_text(warning).c_str());
}

void Progress::finish() {
  if (is_terminal_ && !is_quiet_) std::fprintf(stderr, "\r\033[K");
}

}  // namespace graft
