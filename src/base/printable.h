// Foreign text in messages: what no file and no argument may do is steer a terminal, or fill it.
//
// quote() (base/error.h) goes by these rules for values; the command passes every message through
// message_text() as it leaves.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace graft {

// `text` as a terminal may show it: control characters (line ends too, DEL, C1, those that turn the
// direction of writing) and bytes that are not UTF-8 become escapes such as \x1b and \u202e, and
// the characters of `escaped` get a backslash. More than `most` bytes are cut, never inside a
// character, and "..." put in their place.
std::string printable(std::string_view text, size_t most = 80, std::string_view escaped = "");

// Whether `text` has more to steer a terminal with than the control characters below the space:
// DEL, C1, ends of lines that are none of ASCII, marks of direction.
bool has_steering_marks(std::string_view text);

// A path or name of a file, a tensor, a part, in single quotes, as `printable` shows it; cut after
// 1,000 bytes. bare_name: the same without quotes, for lines that say where something was written.
std::string named(std::string_view name);
std::string bare_name(std::string_view name);

// "a, b and c": names out of a file, each as `printable` shows it; the first 50.
std::string listed_names(const std::vector<std::string>& names);

// A message of several lines: line ends stay, each line is as `printable` makes it, of at most
// 2,000 bytes; at most 200 lines, then the count of the rest. Of its own result it changes nothing.
std::string message_text(std::string_view message);

}  // namespace graft
