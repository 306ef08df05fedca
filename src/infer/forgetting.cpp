#include "infer/forgetting.h"

#include <algorithm>

#include "base/error.h"
#include "base/spelling.h"
#include "model/language_batch.h"

namespace graft {

Dataset plain_texts(const Path& file, const ModelText& text, const ModelConfig& config,
                    int64_t max_length) {
  const std::string source = "'" + file.string() + "'";
  if (config.is_encoder_decoder() || !config.has_output_layer()) {
    const bool lacks_layer = config.has_decoder() && !config.has_output_layer();
    throw InputError(source +
                     ": plain text is read by a model that writes one token after the other; this "
                     "is a " +
                     config.model_type + " model" +
                     (lacks_layer ? " without a layer over the vocabulary" : "") +
                     "; leave the file out");
  }
  const auto most = static_cast<size_t>(resolve_max_length(max_length, config));
  const std::string all = read_file(file);
  Dataset out;
  out.max_length = static_cast<int64_t>(most);
  int64_t number = 0;
  for (size_t begin = 0; begin < all.size(); ++number) {
    const size_t end = std::min(all.find('\n', begin), all.size());
    std::string line = all.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    std::vector<int64_t> ids;
    with_context("reading " + source + ", line " + std::to_string(number + 1),
                 [&] { ids = text.tokenizer->encode(line, std::nullopt).ids; });
    check_vocabulary(ids, text, config);
    for (size_t first = 0; first + 1 < ids.size(); first += most) {
      const size_t last = std::min(ids.size(), first + most);
      if (last - first < 2) break;  // nothing predicts a single token
      Sequence& sequence = out.sequences.emplace_back();
      sequence.example = std::ssize(out.sequences) - 1;
      sequence.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(first),
                          ids.begin() + static_cast<std::ptrdiff_t>(last));
      TargetMarks marks{std::vector<bool>(sequence.ids.size(), true)};
      marks.is_target.front() = false;
      sequence.asked = std::move(marks);
      out.num_tokens += sequence.num_tokens();
      Example& example = out.examples.emplace_back();
      example.id = sequence.example;
      example.line = number + 1;
    }
  }
  if (out.sequences.empty())
    throw InputError(source + ": expected lines of text of two tokens or more, found none");
  return out;
}

namespace {

// Whether an edit acts at tokens that are counted in a prompt.
bool counts_positions(const Adapter& adapter) {
  return std::any_of(adapter.parts().begin(), adapter.parts().end(), [](const Adapter::Part& part) {
    return part.spec().traits.acts_on == ActsOn::kPrompt;
  });
}

// Each text as its own prompt: plain text has none, and a prompt of one token has no positions.
Dataset as_prompts(Dataset texts) {
  for (Sequence& sequence : texts.sequences)
    std::get<TargetMarks>(sequence.asked).prompt = std::ssize(sequence.ids);
  return texts;
}

}  // namespace

void check_forgetting(const Adapter& adapter) {
  for (const Adapter::Part& part : adapter.parts()) {
    const Traits& traits = part.spec().traits;
    const auto refuse = [&](const std::string& reason) {
      throw InputError("what edit " + quote(part.path) + " forgets cannot be measured: " + reason +
                       "; leave " + option_name("forgetting") + " out");
    };
    if (traits.embedding > 0)
      refuse("it reads " + std::to_string(traits.embedding) +
             " numbers of each row (the task's embedding column), and plain text has none");
    // A collect reads what it reads for records alone.
    const bool only_reads = part.spec().params.empty();
    if (only_reads || traits.reads < Reads::kPrompt) continue;
    if (traits.reads == Reads::kSequence)
      refuse("a gate of it reads all of a text, so that a token would see those that follow it");
    if (counts_positions(adapter))
      refuse(
          "a gate of it reads the prompt, which is all of a plain text where an edit counts "
          "positions in it, so that a token would see those that follow it");
  }
}

Forgetting measure_forgetting(const Model& model, const BoundAdapter& bound, const Dataset& texts,
                              int64_t token_budget) {
  const Adapter none = Adapter::none({model.config, model.sites});
  const BoundAdapter bare(model, none, {});
  Forgetting out;
  const PredictOptions options{.token_budget = token_budget};
  out.before = text_losses(model, bare, texts, options).mean;
  out.after = counts_positions(bound.adapter())
                  ? text_losses(model, bound, as_prompts(texts), options).mean
                  : text_losses(model, bound, texts, options).mean;
  out.texts = texts.size();
  for (const Sequence& sequence : texts.sequences) out.tokens += num_targets(sequence);
  return out;
}

Node to_node(const Forgetting& forgetting) {
  return Node::map({{"texts", Node::integer(forgetting.texts)},
                    {"tokens", Node::integer(forgetting.tokens)},
                    {"before", Node::number(forgetting.before)},
                    {"after", Node::number(forgetting.after)},
                    {"rise", Node::number(forgetting.rise())}});
}

}  // namespace graft
