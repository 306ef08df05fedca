#include "data/text_words.h"

#include <unicode/locid.h>
#include <unicode/unistr.h>

#include "base/error.h"

namespace graft {

namespace {

// Bytes of the white space at the start of `text`, or 0.
size_t space_length(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned a = byte(0), b = byte(1), c = byte(2);
  if (a == 0x20 || (a >= 0x09 && a <= 0x0D) || (a >= 0x1C && a <= 0x1F)) return 1;
  if (a == 0xC2 && (b == 0x85 || b == 0xA0)) return 2;
  if (a == 0xE1 && b == 0x9A && c == 0x80) return 3;  // U+1680
  if (a == 0xE2 && b == 0x80 && ((c >= 0x80 && c <= 0x8A) || c == 0xA8 || c == 0xA9 || c == 0xAF))
    return 3;                                         // U+2000..200A, 2028, 2029, 202F
  if (a == 0xE2 && b == 0x81 && c == 0x9F) return 3;  // U+205F
  if (a == 0xE3 && b == 0x80 && c == 0x80) return 3;  // U+3000
  return 0;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_stop(char c) { return c == '.' || c == ','; }

// ASCII symbols that mteval sets apart: all but ' - . and ,
bool is_symbol(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
         (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

// One pass of a rule on two neighbours: where `holds(a, b)`, `write(a, b)` takes their place and
// the scan goes on behind them. Working on bytes is the same as on characters, since the rules look
// at ASCII only and a character's bytes stay together.
template <typename Holds, typename Write>
std::string rewrite_pairs(const std::string& text, const Holds& holds, const Write& write) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && holds(text[i], text[i + 1])) {
      write(out, text[i], text[i + 1]);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

Words split_words(std::string_view text) {
  Words words;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t space = space_length(text.substr(i, 3));
    if (space == 0) {
      ++i;
      continue;
    }
    if (i > begin) words.emplace_back(text.substr(begin, i - begin));
    i += space;
    begin = i;
  }
  if (text.size() > begin) words.emplace_back(text.substr(begin));
  return words;
}

std::string_view strip_end(std::string_view text) {
  for (bool changed = true; changed && !text.empty();) {
    changed = false;
    for (const size_t length : {size_t{1}, size_t{2}, size_t{3}}) {
      if (length > text.size() || space_length(text.substr(text.size() - length)) != length)
        continue;
      text.remove_suffix(length);
      changed = true;
      break;
    }
  }
  return text;
}

std::string_view strip(std::string_view text) {
  for (size_t length = space_length(text); length > 0; length = space_length(text))
    text.remove_prefix(length);
  return strip_end(text);
}

std::string lower_text(const std::string& text) {
  std::string out;
  icu::UnicodeString::fromUTF8(text).toLower(icu::Locale::getRoot()).toUTF8String(out);
  return out;
}

Words words_13a(std::string_view text) {
  std::string line(strip_end(text));
  replace_all(line, "<skipped>", "");
  replace_all(line, "-\n", "");
  replace_all(line, "\n", " ");
  for (const auto& [entity, symbol] :
       {std::pair{"&quot;", "\""}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}})
    replace_all(line, entity, symbol);
  std::string apart = " ";
  for (const char c : line) {
    if (is_symbol(c)) apart += {' ', c, ' '};
    else apart += c;
  }
  apart += ' ';
  const auto split_off_second = [](std::string& out, char a, char b) { out += {a, ' ', b, ' '}; };
  apart = rewrite_pairs(
      apart, [](char a, char b) { return !is_digit(a) && is_stop(b); }, split_off_second);
  apart = rewrite_pairs(
      apart, [](char a, char b) { return is_stop(a) && !is_digit(b); },
      [](std::string& out, char a, char b) {
        out += {' ', a, ' ', b};
      });
  apart = rewrite_pairs(
      apart, [](char a, char b) { return is_digit(a) && b == '-'; }, split_off_second);
  return split_words(apart);
}

Words words_rouge(const std::string& text) {
  Words words;
  std::string word;
  for (const char c : lower_text(text) + " ") {
    if (is_digit(c) || (c >= 'a' && c <= 'z')) {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

int64_t NgramTable::child(int64_t parent, int64_t word) {
  const uint64_t key = static_cast<uint64_t>(parent) << 32 | static_cast<uint64_t>(word);
  const auto [found, is_new] = children_.try_emplace(key, size());
  if (is_new) parents_.push_back(parent);
  return found->second;
}

std::vector<std::vector<NgramCount>> NgramTable::count(const Words& words, int64_t most) {
  std::vector<int64_t> numbers;
  for (const std::string& word : words)
    numbers.push_back(words_.try_emplace(word, static_cast<int64_t>(words_.size())).first->second);
  std::vector<int64_t> ending(words.size(), 0);  // the (n-1)-gram that begins at i
  std::vector<std::vector<NgramCount>> counts(static_cast<size_t>(most));
  for (size_t n = 1; n <= counts.size(); ++n) {
    std::unordered_map<int64_t, size_t> places;
    std::vector<NgramCount>& of_n = counts[n - 1];
    for (size_t i = 0; i + n <= words.size(); ++i) {
      ending[i] = child(ending[i], numbers[i + n - 1]);
      const auto [place, is_new] = places.try_emplace(ending[i], of_n.size());
      if (is_new) of_n.push_back({ending[i], 0});
      ++of_n[place->second].count;
    }
  }
  ensure(size() < (int64_t{1} << 32), "too many different n-grams");
  return counts;
}

}  // namespace graft
