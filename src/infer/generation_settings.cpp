#include "infer/generation_settings.h"

#include <algorithm>

#include "base/error.h"

namespace graft {

namespace {

constexpr int64_t kMostTokens = 1 << 20, kMostIds = int64_t{1} << 31;

const std::vector<std::string> kEarlyStopping = {"no", "yes", "never"};  // in the order of the enum

Node id_list(const std::vector<int64_t>& ids) {
  std::vector<Node> items;
  for (const int64_t id : ids) items.push_back(Node::integer(id));
  return Node::list(std::move(items));
}

std::vector<std::vector<int64_t>> read_words(Options& options, const char* key) {
  std::vector<std::vector<int64_t>> words;
  const Node* list = options.raw(key);
  if (list == nullptr || list->kind == Node::Kind::kNull) return words;
  bool is_good = list->kind == Node::Kind::kList;
  for (size_t i = 0; is_good && i < list->items.size(); ++i) {
    const Node word = Node::map({{"ids", list->items[i]}});
    Options one(word, options.source());
    words.push_back(one.integers("ids", std::nullopt, 0, kMostIds));
    is_good = list->items[i].kind == Node::Kind::kList && std::ssize(words.back()) == std::ssize(list->items[i].items);
  }
  if (!is_good) options.fault(key, "expected a list of lists of tokens, found " + to_json(*list, -1));
  return words;
}

bool is_above(const Node* number, double bound) { return number != nullptr && std::stod(number->scalar) > bound; }

const Node* find_in(const Node& own, const Node& model, const char* key) {
  const Node* node = own.find(key);
  return node != nullptr ? node : model.find(key);
}

void drop(Node& settings, const std::vector<std::string>& keys) {
  std::erase_if(settings.members, [&](const auto& member) { return std::find(keys.begin(), keys.end(), member.first) != keys.end(); });
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
  const Node *most = own.find("max_new_tokens"), *least = model.find("min_new_tokens");
  if (most != nullptr && least != nullptr && is_above(least, std::stod(most->scalar)) && std::stod(most->scalar) > 0)
    model["min_new_tokens"] = *most;  // no end at all, which is what a longer one says, too
  if (!is_above(find_in(own, model, "temperature"), 0)) drop(model, {"top_k", "top_p"});
  if (!is_above(find_in(own, model, "beams"), 1)) drop(model, {"length_penalty", "early_stopping"});
  return model;
}

}  // namespace

GenerateOptions read_generation(Options& options) {
  GenerateOptions out{.max_new_tokens = kAsFits};
  out.max_new_tokens = options.integer("max_new_tokens", out.max_new_tokens, 0, kMostTokens);
  out.max_total_tokens = options.integer("max_total_tokens", 0, 0, ModelConfig::kAnyLength);
  out.beams = options.integer("beams", out.beams, 1, 1024);
  out.length_penalty = options.number("length_penalty", out.length_penalty, -100, 100);
  const std::string early = options.choice("early_stopping", "no", kEarlyStopping);
  out.early_stopping =
      static_cast<EarlyStopping>(std::find(kEarlyStopping.begin(), kEarlyStopping.end(), early) - kEarlyStopping.begin());
  SamplingOptions& sampling = out.sampling;
  sampling.temperature = options.number("temperature", sampling.temperature, 0, 1e6);
  sampling.top_k = options.integer("top_k", sampling.top_k, 0, 1 << 24);
  sampling.top_p = options.number("top_p", sampling.top_p, 1e-9, 1);
  sampling.repetition_penalty = options.number("repetition_penalty", sampling.repetition_penalty, 1e-3, 1e3);
  sampling.no_repeat_ngram = options.integer("no_repeat_ngram", 0, 0, kMostTokens);
  sampling.encoder_no_repeat_ngram = options.integer("encoder_no_repeat_ngram", 0, 0, kMostTokens);
  sampling.bad_words = read_words(options, "bad_words");
  sampling.min_new_tokens = options.integer("min_new_tokens", 0, 0, kMostTokens);
  sampling.min_total_tokens = options.integer("min_total_tokens", 0, 0, ModelConfig::kAnyLength);
  sampling.forced_bos = options.integer("forced_bos", -1, -1, kMostIds);
  const std::vector<int64_t> none;
  sampling.forced_eos = options.integers("forced_eos", none, 0, kMostIds);
  sampling.suppress_tokens = options.integers("suppress_tokens", none, -kMostIds, kMostIds);
  sampling.begin_suppress_tokens = options.integers("begin_suppress_tokens", none, -kMostIds, kMostIds);
  return out;
}

Node generation_node(const GenerateOptions& generation) {
  const SamplingOptions& sampling = generation.sampling;
  std::vector<Node> words;
  for (const std::vector<int64_t>& word : sampling.bad_words) words.push_back(id_list(word));
  return Node::map({{"max_new_tokens", Node::integer(generation.max_new_tokens)},
                    {"max_total_tokens", Node::integer(generation.max_total_tokens)},
                    {"beams", Node::integer(generation.beams)},
                    {"length_penalty", Node::number(generation.length_penalty)},
                    {"early_stopping", Node::text(kEarlyStopping[static_cast<size_t>(generation.early_stopping)])},
                    {"temperature", Node::number(sampling.temperature)},
                    {"top_k", Node::integer(sampling.top_k)},
                    {"top_p", Node::number(sampling.top_p)},
                    {"repetition_penalty", Node::number(sampling.repetition_penalty)},
                    {"no_repeat_ngram", Node::integer(sampling.no_repeat_ngram)},
                    {"encoder_no_repeat_ngram", Node::integer(sampling.encoder_no_repeat_ngram)},
                    {"bad_words", Node::list(std::move(words))},
                    {"min_new_tokens", Node::integer(sampling.min_new_tokens)},
                    {"min_total_tokens", Node::integer(sampling.min_total_tokens)},
                    {"forced_bos", Node::integer(sampling.forced_bos)},
                    {"forced_eos", id_list(sampling.forced_eos)},
                    {"suppress_tokens", id_list(sampling.suppress_tokens)},
                    {"begin_suppress_tokens", id_list(sampling.begin_suppress_tokens)}});
}

Node unusual_generation(const GenerateOptions& options) {
  const Node all = generation_node(options), usual = generation_node({.max_new_tokens = kAsFits});
  Node out = Node::map();
  for (const auto& [key, value] : all.members) {
    if (!(value == *usual.find(key))) out[key] = value;
  }
  return out;
}

JoinedGeneration join_generation(const Node& own, const Node& model, const std::string& source) {
  JoinedGeneration out;
  out.from_model = that_count(own, model.kind == Node::Kind::kMap ? model : Node::map());
  const bool draws = is_above(find_in(own, model, "temperature"), 0), has_beams = is_above(find_in(own, model, "beams"), 1);
  const bool is_own = own.find("temperature") != nullptr && own.find("beams") != nullptr;
  if (draws && has_beams && !is_own) {
    throw InputError(
        "the model's own settings and yours together ask for random choices (do_sample) among several beams, which is not "
        "supported: set temperature to 0 or beams to 1");
  }
  Node joined = own.kind == Node::Kind::kMap ? own : Node::map();
  for (const auto& [key, value] : out.from_model.members) joined[key] = value;
  Options options(joined, source);
  out.options = read_generation(options);
  options.finish();
  return out;
}

}  // namespace graft
