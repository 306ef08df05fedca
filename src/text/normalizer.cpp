#include "text/normalizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/base64.h"
#include "text/bounded_regex.h"

namespace graft {

namespace {

void set_ideographs_apart(AlignedText& text) {
  if (std::none_of(text.chars.begin(), text.chars.end(), is_bert_ideograph)) return;
  AlignedText out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text.chars[i];
    const bool apart = is_bert_ideograph(c);
    if (apart) out.push(' ', text.origin[i]);
    out.push(c, text.origin[i]);
    if (apart) out.push(' ', text.origin[i]);
  }
  text = std::move(out);
}

void to_form(AlignedText& text, NormalForm form) {
  if (!surely_in_form(text.chars, form)) text.replace(normal_form(text.chars, form));
}

void to_lower(AlignedText& text) {
  bool dotted = false;
  for (char32_t& c : text.chars) {
    if (c == kDottedCapitalI) dotted = true;
    else c = lower(c);
  }
  if (!dotted) return;
  AlignedText out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.chars[i] == kDottedCapitalI) {
      out.push('i', text.origin[i]);
      out.push(0x307, text.origin[i]);
    } else {
      out.push(text.chars[i], text.origin[i]);
    }
  }
  text = std::move(out);
}

struct Apply {
  AlignedText& text;
  size_t limit;
  bool continues;

  void operator()(const BertNormalizer& options) const {
    const CharClasses& classes = char_classes();
    if (options.clean_text) {
      text.filter([&](char32_t c) { return !classes.is_in(c, CharClass::kBertRemoved); });
      for (char32_t& c : text.chars) {
        if (is_space(c)) c = ' ';
      }
    }
    if (options.handle_chinese_chars) set_ideographs_apart(text);
    if (options.strip_accents) {
      to_form(text, NormalForm::kNfd);
      text.filter(
          [&](char32_t c) { return c < 0x300 || !classes.is_in(c, CharClass::kNonspacingMark); });
    }
    if (options.lowercase) to_lower(text);
  }
  void operator()(const FormNormalizer& options) const { to_form(text, options.form); }
  void operator()(const LowercaseNormalizer&) const { to_lower(text); }
  void operator()(const StripAccentsNormalizer&) const {
    text.filter([](char32_t c) { return !char_classes().is_in(c, CharClass::kCombiningMark); });
  }
  void operator()(const StripNormalizer& options) const {
    size_t begin = 0, end = text.size();
    while (options.left && begin < end && is_space(text.chars[begin])) ++begin;
    while (options.right && begin < end && is_space(text.chars[end - 1])) --end;
    if (begin > 0 || end < text.size()) text = text.slice(begin, end);
  }
  void operator()(const ReplaceNormalizer& options) const {
    const std::vector<Span> found = options.regex != nullptr
                                        ? options.regex->matches(text.chars)
                                        : places_of(options.pattern, text.chars);
    if (found.empty()) return;
    AlignedText out;
    size_t done = 0;
    for (const Span& span : found) {
      if (span.begin == span.end)
        throw InputError("the normalizer's regular expression matches nothing at character " +
                         std::to_string(span.begin));
      for (size_t i = done; i < span.begin; ++i) out.push(text.chars[i], text.origin[i]);
      done = span.end;
      for (const char32_t c : options.content)
        out.push(
            c, text.origin[done - 1]);  // the last character of the match, as the reference has it
      check_growth(out.size(), limit);
    }
    for (size_t i = done; i < text.size(); ++i) out.push(text.chars[i], text.origin[i]);
    text = std::move(out);
  }
  void operator()(const PrependNormalizer& options) const {
    if (text.size() == 0 || continues) return;
    check_growth(text.size() + options.text.size(), limit);
    text.chars.insert(0, options.text);
    text.origin.insert(text.origin.begin(), options.text.size(), text.origin[0]);
  }
  void operator()(const PrecompiledNormalizer& options) const { apply(options, text, limit); }
  void operator()(const SentencePieceNormalizer& options) const {
    apply(options, text, continues, limit);
  }
};

NormalForm form_named(const std::string& name) {
  if (name == "NFC") return NormalForm::kNfc;
  if (name == "NFD") return NormalForm::kNfd;
  return name == "NFKC" ? NormalForm::kNfkc : NormalForm::kNfkd;
}

const std::vector<std::string> kTypes = {"BertNormalizer", "NFC",       "NFD",          "NFKC",
                                         "NFKD",           "Lowercase", "StripAccents", "Strip",
                                         "Replace",        "Prepend",   "Precompiled",  "Sequence"};

ReplaceNormalizer read_replace(const FieldMap& map) {
  ReplaceNormalizer step;
  const FieldMap pattern = map.map("pattern");
  if (pattern.has("Regex")) {
    step.regex = std::make_shared<const BoundedRegex>(
        pattern.text("Regex"), map.source() + ": " + pattern.pointer() + "/Regex");
    if (!step.regex->matches(U"").empty())
      pattern.fail("Regex",
                   "a regular expression that matches nothing at all is not supported, found " +
                       shown(pattern.raw("Regex")));
  } else {
    step.pattern = pattern.chars("String");
  }
  pattern.finish();
  step.content = decode_utf8(map.text("content"), map.source() + ": " + map.pointer() + "/content");
  return step;
}

void read_step(const FieldMap& map, std::vector<NormalizerStep>& steps) {
  const std::string type = map.type(kTypes);
  if (type == "Sequence") {
    for (const FieldMap& item : map.maps("normalizers")) read_step(item, steps);
  } else if (type == "BertNormalizer") {
    BertNormalizer step;
    step.clean_text = map.boolean("clean_text");
    step.handle_chinese_chars = map.boolean("handle_chinese_chars");
    step.lowercase = map.boolean("lowercase");
    step.strip_accents =
        map.is_null("strip_accents") ? step.lowercase : map.boolean("strip_accents");
    steps.emplace_back(step);
  } else if (type == "Lowercase") {
    steps.emplace_back(LowercaseNormalizer{});
  } else if (type == "StripAccents") {
    steps.emplace_back(StripAccentsNormalizer{});
  } else if (type == "Strip") {
    steps.emplace_back(StripNormalizer{map.boolean("strip_left"), map.boolean("strip_right")});
  } else if (type == "Replace") {
    steps.emplace_back(read_replace(map));
  } else if (type == "Precompiled") {
    const std::string where = map.source() + ": " + map.pointer() + "/precompiled_charsmap";
    const std::string bytes = decode_base64(map.text("precompiled_charsmap"), where);
    steps.emplace_back(PrecompiledNormalizer{std::make_shared<const Charsmap>(bytes, where)});
  } else if (type == "Prepend") {
    steps.emplace_back(PrependNormalizer{map.chars("prepend")});
  } else {
    steps.emplace_back(FormNormalizer{form_named(type)});
  }
  map.finish();
}

}  // namespace

Normalizer Normalizer::read(const FieldMap& map) {
  Normalizer out;
  read_step(map, out.steps_);
  return out;
}

void Normalizer::apply(AlignedText& text, bool continues) const {
  const size_t limit = text.size() * kMaxGrowth + kMaxGrown;
  for (const NormalizerStep& step : steps_) {
    std::visit(Apply{text, limit, continues}, step);
    check_growth(text.size(), limit);
  }
}

}  // namespace graft
