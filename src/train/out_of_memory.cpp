#include "train/out_of_memory.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <new>
#include <string_view>
#include <system_error>

#include "base/wording.h"
#include "train/memory.h"

namespace graft {

namespace {

// Libraries have no class of exception for it.
constexpr std::array<std::string_view, 5> kPhrases = {"can't allocate memory", "not enough memory",
                                                      "out of memory", "Cannot allocate memory",
                                                      "std::bad_alloc"};

// oneDNN says of any failure that it could not create or run something.
constexpr std::array<std::string_view, 2> kUnclear = {"could not create", "could not execute"};

bool has_any(std::string_view text, const auto& phrases) {
  return std::any_of(phrases.begin(), phrases.end(),
                     [&](std::string_view each) { return text.find(each) != text.npos; });
}

bool is_near_limit() {
  const MemoryLimit limit = memory_limit();
  return limit.is_set && peak_address_bytes() > limit.bytes - limit.bytes / 20;
}

constexpr const char* kBegin = "out of memory: ";

}  // namespace

std::string out_of_memory_message(const MemoryNeed& need) {
  const MemoryLimit limit = memory_limit();
  std::string text = kBegin;
  if (need.bytes > 0)
    text += "about " + bytes_text(need.bytes) +
            " are needed at the peak (as graft plan predicts), and ";
  text += limit.is_set ? "this process may take " + bytes_text(limit.bytes) +
                             " of addresses (ulimit -v, program and files included)"
                       : "the machine has " + bytes_text(limit.bytes) + " left";
  text += "; it had taken " +
          bytes_text(limit.is_set ? peak_address_bytes() : peak_resident_bytes()) + ". ";
  return text + (need.way_out.empty() ? "Close other programs" : need.way_out) +
         (limit.is_set ? ", or raise the limit" : ", or take a machine with more memory");
}

bool tells_memory_need(const std::exception& error) {
  return std::string_view(error.what()).starts_with(kBegin);
}

bool means_no_memory(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return true;
  if (const auto* system = dynamic_cast<const std::system_error*>(&error))
    return system->code() == std::errc::not_enough_memory ||
           system->code() == std::errc::resource_unavailable_try_again;
  if (dynamic_cast<const InputError*>(&error) != nullptr) return false;  // it may quote anything
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  const std::string_view text = torch != nullptr ? torch->what_without_backtrace() : error.what();
  return has_any(text, kPhrases) || (has_any(text, kUnclear) && is_near_limit());
}

}  // namespace graft
