#include "infer/generation_settings.h"

#include <algorithm>

#include "base/error.h"

namespace graft {

namespace {

constexpr int64_t kMostIds = int64_t{1} << 31;

std::vector<std::vector<int64_t>> read_words(Options& options, const char* key) {
  std::vector<std::vector<int64_t>> words;
  const Node* list = options.raw(key);
  if (list == nullptr || list->kind == Node::Kind::kNull) return words;
  bool is_good = list->kind == Node::Kind::kList;
  for (size_t i = 0; is_good && i < list->items.size(); ++i) {
    const Node word = Node::map({{"ids", list->items[i]}});
    Options one(word, options.source());
    words.push_back(one.integers("ids", std::nullopt, 0, kMostIds));
    is_good = list->items[i].kind == Node::Kind::kList &&
              std::ssize(words.back()) == std::ssize(list->items[i].items);
  }
  if (!is_good)
    options.fault(key, "expected a list of lists of tokens, found " + to_json(*list, -1));
  return words;
}

OptionForm words_form(const char* key, std::vector<std::vector<int64_t>>& words) {
  const auto write = [&words] {
    std::vector<Node> lists;
    for (const std::vector<int64_t>& word : words) lists.push_back(Node::integers(word));
    return Node::list(std::move(lists));
  };
  return {.values = "a list of lists of tokens",
          .read = [&words, key](Options& options) { words = read_words(options, key); },
          .write = write};
}

// The user's, else the model's, else 0.
double number_in(const Node& own, const Node& model, const char* key) {
  const std::optional<double> number = own.find_number(key);
  return number ? *number : model.find_number(key).value_or(0);
}

void drop(Node& settings, const std::vector<std::string>& keys) {
  std::erase_if(settings.members, [&](const auto& member) {
    return std::find(keys.begin(), keys.end(), member.first) != keys.end();
  });
}

// What is left of a model's settings beside the user's.
Node that_count(const Node& own, Node model) {
  std::vector<std::string> own_keys;
  for (const auto& [key, value] : own.members) own_keys.push_back(key);
  drop(model, own_keys);
  if (own.find("max_new_tokens") != nullptr || own.find("max_total_tokens") != nullptr)
    drop(model, {"max_new_tokens", "max_total_tokens"});
  if (own.find("min_new_tokens") != nullptr || own.find("min_total_tokens") != nullptr)
    drop(model, {"min_new_tokens", "min_total_tokens"});
  const std::optional<int64_t> most = own.find_integer("max_new_tokens"),
                               least = model.find_integer("min_new_tokens");
  // No end at all, which is what a longer one says, too.
  if (most && least && *least > *most && *most > 0) model["min_new_tokens"] = Node::integer(*most);
  if (number_in(own, model, "temperature") <= 0) drop(model, {"top_k", "top_p"});
  if (number_in(own, model, "beams") <= 1) drop(model, {"length_penalty", "early_stopping"});
  return model;
}

}  // namespace

void visit_generation(OptionVisitor& v, GenerateOptions& o) {
  SamplingOptions& s = o.sampling;
  v.integer("max_new_tokens", o.max_new_tokens, {kAsFits, kMostNewTokens},
            "longest text to write; 0: 128, or what the model's positions leave room for");
  v.integer(
      "max_total_tokens", o.max_total_tokens, {0, ModelConfig::kAnyLength},
      "longest text with its prompt or start token; above 0 it counts instead of max_new_tokens");
  v.integer("beams", o.beams, {1, kMostBeams}, "beam search over so many texts");
  v.number("length_penalty", o.length_penalty, {-100, 100},
           "of beam search: above 0 favours long texts");
  v.choice("early_stopping", o.early_stopping, kEarlyStoppings,
           "when beam search ends. no: no better text is likely; yes: as many texts as beams are "
           "done; never: no better one is possible");
  v.number("temperature", s.temperature, {0, 1e6},
           "0: always the most probable token; 1: as the model says; more: wilder");
  v.integer("top_k", s.top_k, {0, 1 << 24},
            "draw from the k most probable tokens only; 0: from all");
  v.number("top_p", s.top_p, {1e-9, 1},
           "draw from the most probable tokens that reach this probability together");
  v.number("repetition_penalty", s.repetition_penalty, {1e-3, 1e3},
           "above 1: tokens of the text so far become less probable");
  v.integer("no_repeat_ngram", s.no_repeat_ngram, {0, kMostNewTokens},
            "no sequence of so many tokens twice; 0: off");
  v.choice("no_repeat_ngram_in", s.no_repeat_ngram_in, kNgramsOf,
           "whose sequences no_repeat_ngram counts: the text's with its prompt, as transformers "
           "has it, or the new tokens' alone, as published for AdaMix and LoRA");
  v.integer("encoder_no_repeat_ngram", s.encoder_no_repeat_ngram, {0, kMostNewTokens},
            "no sequence of so many tokens that stands in the prompt; 0: off");
  v.option("bad_words", words_form("bad_words", s.bad_words),
           "sequences of tokens that never stand in a text");
  v.integer("min_new_tokens", s.min_new_tokens, {0, kMostNewTokens},
            "no end before so many tokens");
  v.integer("min_total_tokens", s.min_total_tokens, {0, ModelConfig::kAnyLength},
            "no end before the text has so many tokens with its prompt or start token");
  v.integers("end_ids", o.further_end_ids, {0, kMostIds},
             "tokens that end a text, beside the model's own");
  v.integer("forced_bos", s.forced_bos, {-1, kMostIds},
            "the token behind a text's first; -1: none is forced");
  v.integers("forced_eos", s.forced_eos, {0, kMostIds},
             "tokens of which one ends a text of the greatest length");
  v.integers("suppress_tokens", s.suppress_tokens, {-kMostIds, kMostIds},
             "tokens that are never written");
  v.integers("begin_suppress_tokens", s.begin_suppress_tokens, {-kMostIds, kMostIds},
             "tokens that are never written first");
}

GenerateOptions read_generation(Options& options) {
  GenerateOptions out{.max_new_tokens = kAsFits};
  read_shown(options, [&](OptionVisitor& v) { visit_generation(v, out); });
  return out;
}

Node generation_node(GenerateOptions options) {
  return written([&](OptionVisitor& v) { visit_generation(v, options); });
}

Node unusual_generation(const GenerateOptions& options) {
  const Node all = generation_node(options), usual = generation_node({.max_new_tokens = kAsFits});
  Node out = Node::map();
  for (const auto& [key, value] : all.members) {
    if (!(value == *usual.find(key))) out[key] = value;
  }
  return out;
}

JoinedGeneration join_generation(const Node& own, const Node& model, const std::string& source,
                                 const std::string& model_source) {
  const auto read = [](const Node& settings, const std::string& whose) {
    Options options(settings, whose);
    const GenerateOptions values = read_generation(options);
    options.finish();
    return values;
  };
  Node joined = own.kind == Node::Kind::kMap ? own : Node::map();
  read(joined, source);  // what is none of a setting's values is told before values are compared
  JoinedGeneration out;
  out.from_model = that_count(joined, model.kind == Node::Kind::kMap ? model : Node::map());
  for (const auto& [key, value] : out.from_model.members) joined[key] = value;
  out.options = read(joined, model_source.empty() ? source : model_source + " and " + source);
  return out;
}

}  // namespace graft
