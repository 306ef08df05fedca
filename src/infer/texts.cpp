#include "infer/texts.h"

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "base/timer.h"

namespace graft {

std::string StopWatch::push(const std::string& piece) {
  if (has_stopped_) return "";
  held_ += piece;
  size_t end = std::string::npos;
  for (const std::string& stop : stop_) end = std::min(end, held_.find(stop));
  has_stopped_ = end != std::string::npos;
  size_t kept = 0;  // bytes at the end that a stop text may begin with
  for (const std::string& stop : stop_) {
    for (size_t length = std::min(stop.size() - 1, held_.size()); !has_stopped_ && length > kept;
         --length) {
      if (held_.ends_with(stop.substr(0, length))) kept = length;
    }
  }
  std::string sure = held_.substr(0, has_stopped_ ? end : held_.size() - kept);
  held_.erase(0, has_stopped_ ? held_.size() : sure.size());
  return sure;
}

std::string StopWatch::finish() { return std::move(held_); }

namespace {

// One text under way.
struct Stream {
  Stream(const ModelText& model_text, const std::vector<std::string>& stop)
      : decoder(model_text.tokenizer), watch(stop) {}

  StreamDecoder decoder;
  StopWatch watch;
  std::string text;
};

class Writer {
 public:
  Writer(const Model& model, const std::vector<LaneAdapter>& lanes,
         const std::vector<size_t>& lane_of, const ModelText& text, const WriteOptions& options)
      : model_(model), lanes_(lanes), lane_of_(lane_of), text_(text), options_(options) {}

  // `rows`: the prompts that are written together.
  void write(const std::vector<Sequence>& prompts, std::vector<int64_t> rows, Written& out) {
    const auto lane_of = [&](int64_t row) { return lane_of_[static_cast<size_t>(row)]; };
    std::stable_sort(rows.begin(), rows.end(),
                     [&](int64_t a, int64_t b) { return lane_of(a) < lane_of(b); });
    std::vector<PromptLane> lanes;
    std::deque<Stream> streams;  // a decoder stays where it is
    for (size_t i = 0; i < rows.size(); ++i) {
      if (i == 0 || lane_of(rows[i]) != lane_of(rows[i - 1]))
        lanes.push_back({lanes_[lane_of(rows[i])], {}});
      lanes.back().prompts.push_back(&prompts[static_cast<size_t>(rows[i])]);
      streams.emplace_back(text_, options_.stop);
    }
    const auto tell = [&](size_t i, const std::string& piece) {
      streams[i].text += piece;
      if (options_.on_text && options_.generate.beams == 1 && !piece.empty())
        options_.on_text(rows[i], piece);
    };
    const auto read = [&](int64_t prompt, int64_t token) {
      const auto i = static_cast<size_t>(prompt);
      if (!is_end(token) && has_text(token))
        tell(i, streams[i].watch.push(streams[i].decoder.push(token)));
      return !streams[i].watch.has_stopped();
    };
    HasStopped has_stopped;
    if (!options_.stop.empty())
      has_stopped = [this](const std::vector<int64_t>& tokens) { return ends_in_stop(tokens); };
    std::vector<std::vector<Generated>> generated =
        generate(model_, lanes, options_.generate, read, has_stopped);
    for (size_t i = 0; i < generated.size(); ++i) {
      Generated& best = generated[i].front();
      if (options_.generate.beams > 1) {  // read as a whole
        for (const int64_t token : best.tokens) {
          if (!read(static_cast<int64_t>(i), token)) break;
        }
      }
      tell(i, streams[i].watch.push(streams[i].decoder.finish()));
      tell(i, streams[i].watch.finish());
      if (streams[i].watch.has_stopped()) best.finish = Finish::kStopped;
      out.num_tokens += static_cast<int64_t>(best.tokens.size());
      out.texts[static_cast<size_t>(rows[i])] = {std::move(streams[i].text), std::move(best)};
    }
  }

 private:
  // A word table may have more rows than there are tokens, so that its size is round: such a row
  // says nothing.
  bool has_text(int64_t token) const { return text_.tokenizer->id_to_token(token).has_value(); }

  // Whether a stop text stands in a text of these new tokens.
  bool ends_in_stop(const std::vector<int64_t>& tokens) const {
    Stream stream(text_, options_.stop);
    for (const int64_t token : tokens) {
      if (has_text(token)) stream.watch.push(stream.decoder.push(token));
    }
    return stream.watch.has_stopped();
  }

  bool is_end(int64_t token) const {
    const std::vector<int64_t>& ends = options_.generate.sampling.end_ids;
    return std::find(ends.begin(), ends.end(), token) != ends.end();
  }

  const Model& model_;
  const std::vector<LaneAdapter>& lanes_;
  const std::vector<size_t>& lane_of_;
  const ModelText& text_;
  const WriteOptions& options_;
};

}  // namespace

int64_t room_for_texts(const ModelConfig& config, const RowLayout& layout,
                       const std::vector<Sequence>& prompts) {
  int64_t least = Decoding::room_behind(config, layout, {});
  for (const Sequence& prompt : prompts)
    least = std::min(least, Decoding::room_behind(config, layout, prompt));
  return least;
}

void check_prompts(const ModelConfig& config, const RowLayout& layout, const Dataset& prompts,
                   const GenerateOptions& options) {
  for (size_t i = 0; i < prompts.sequences.size(); ++i)
    check_prompt(config, layout, prompts.sequences[i], options, prompts.examples[i].where());
}

Written write_texts(const Model& model, const LaneAdapter& lane,
                    const std::vector<Sequence>& prompts, const ModelText& text,
                    WriteOptions options) {
  return write_texts(model, {lane}, std::vector<size_t>(prompts.size(), 0), prompts, text,
                     std::move(options));
}

Written write_texts(const Model& model, const std::vector<LaneAdapter>& lanes,
                    const std::vector<size_t>& lane_of, const std::vector<Sequence>& prompts,
                    const ModelText& text, WriteOptions options) {
  ensure(!lanes.empty() && lane_of.size() == prompts.size(), "a lane for each prompt");
  ensure(options.batch > 0, "some prompts at once");
  ensure(std::find(options.stop.begin(), options.stop.end(), "") == options.stop.end(),
         "a stop text has a letter");
  if (options.generate.sampling.end_ids.empty())
    options.generate.sampling.end_ids = text.ends_of(options.chat);
  std::vector<int64_t>& ends = options.generate.sampling.end_ids;
  for (const int64_t id : options.generate.further_end_ids) {
    if (std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  }
  const Timer timer;
  Written out;
  out.texts.resize(prompts.size());
  Writer writer(model, lanes, lane_of, text, options);
  int64_t done = 0;
  for (const std::vector<int64_t>& rows :
       groups_of_rows(prompts, options.batch / options.generate.beams, [](int64_t) { return 1; })) {
    writer.write(prompts, rows, out);
    done += static_cast<int64_t>(rows.size());
    if (options.progress) options.progress(done, static_cast<int64_t>(prompts.size()));
  }
  out.seconds = timer.seconds();
  return out;
}

}  // namespace graft
