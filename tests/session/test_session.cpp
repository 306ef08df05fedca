// A session: adapters are loaded with all checks and answer side by side as they answer alone.
#include "graft/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "graft/run.h"
#include "tests/support/limited_allocator.h"
#include "tests/support/testing.h"

namespace graft::testing::test_session {
namespace {

const std::string kToy = GRAFT_SOURCE_DIR "/examples/toy";
const std::string kModel = kToy + "/model";
const std::string kWriter = kToy + "/writer/model";

// Adapters of the toy models, trained once for all tests of this file.
class Sessions : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempFolder>();
    make("lora", "edits: [{lora: {rank: 2}}]");
    make("ia3", "edits: [{affine: {sites: [attn.k, attn.v, ffn.act], scale: true, shift: false}}]");
    make("full", "edits: [{full: {}}]");
    make("drawn", "edits: [{stochastic: {experts: 3}, of: {bottleneck: {reduction: 4}}}]");
    for (const char* name : {"one", "two"}) {
      RunRequest request;
      request.model = kWriter;
      request.task = kToy + "/writer/next.yaml";
      request.data = kToy + "/writer/train.jsonl";
      request.out = *folder_ / name;
      request.definition = "edits: [{lora: {rank: 2}}]";
      request.settings = {"max_steps=12", "learning_rate=3e-2",
                          std::string("seed=") + (name == std::string("one") ? "1" : "2")};
      EXPECT_EQ(train(request), RunEnd::kDone);
    }
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string adapter(const std::string& name) { return *folder_ / (name + "/adapter"); }

 private:
  static void make(const std::string& name, const std::string& definition) {
    RunRequest request;
    request.model = kModel;
    request.task = "text:no,yes";
    request.data = kToy + "/train.tsv";
    request.out = *folder_ / name;
    request.definition = definition;
    request.settings = {"max_steps=8", "learning_rate=1e-2"};
    EXPECT_EQ(train(request), RunEnd::kDone);
  }

  static std::unique_ptr<TempFolder> folder_;
};

std::unique_ptr<TempFolder> Sessions::folder_;

const std::vector<std::string> kTexts = {"we saw a lovely film", "a sad book", "happy",
                                         "it of was sad had book door house on this stone"};

std::vector<std::vector<double>> scores_of(const std::vector<Answer>& answers) {
  std::vector<std::vector<double>> scores;
  for (const Answer& answer : answers) scores.push_back(answer.scores);
  return scores;
}

TEST_F(Sessions, AnswersSideBySideAsEachAlone) {
  const Session session = Session::open(kModel);
  std::vector<AdapterHandle> adapters;
  for (const char* name : {"lora", "ia3", "full"}) adapters.push_back(session.load(adapter(name)));
  std::vector<Question> mixed;
  std::vector<std::vector<double>> alone;
  for (const std::string& text : kTexts) {
    for (const AdapterHandle& each : adapters) {
      mixed.push_back({each, text});
      alone.push_back(session.predict({{each, text}}).front().scores);
    }
  }
  const std::vector<Answer> answers = session.predict(mixed);
  // Products over other numbers of rows round otherwise in the last bits of float32.
  for (size_t i = 0; i < alone.size(); ++i) EXPECT_NEAR(answers[i].scores[0], alone[i][0], 1e-6);
  EXPECT_NE(answers[0].scores, answers[1].scores);  // and each by its own adapter
  EXPECT_NE(answers[1].scores, answers[2].scores);
  for (const Answer& answer : answers) {
    EXPECT_NEAR(answer.scores[0] + answer.scores[1], 1, 1e-6);
    EXPECT_EQ(answer.label, answer.scores[1] > answer.scores[0] ? "yes" : "no");
    EXPECT_EQ(answer.value, std::max(answer.scores[0], answer.scores[1]));
  }
}

TEST_F(Sessions, AnswersFromSeveralThreadsAtOnce) {
  const Session session = Session::open(kModel);
  const AdapterHandle lora = session.load(adapter("lora")), ia3 = session.load(adapter("ia3"));
  std::vector<Question> questions;
  for (const std::string& text : kTexts)
    questions.insert(questions.end(), {{lora, text}, {ia3, text}});
  const auto expected = scores_of(session.predict(questions));
  std::vector<std::vector<std::vector<double>>> found(4);
  std::vector<std::thread> threads;
  for (auto& own : found)
    threads.emplace_back([&] { own = scores_of(session.predict(questions)); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& own : found) EXPECT_EQ(own, expected);
}

TEST_F(Sessions, ScoresAFileAndTellsWhatItHolds) {
  const Session session = Session::open(kModel);
  const AdapterHandle lora = session.load(adapter("lora"));
  ASSERT_TRUE(lora.task().has_value());
  EXPECT_EQ(lora.task()->kind, "classification");
  EXPECT_EQ(lora.task()->labels, (std::vector<std::string>{"no", "yes"}));
  EXPECT_EQ(lora.task()->columns, std::vector<std::string>{"text"});
  EXPECT_EQ(session.info().type, "bert");
  EXPECT_FALSE(session.info().writes_texts);
  const Scores scores = session.score(lora, kToy + "/dev.tsv");
  // Counted by hand from the answers to the file's rows.
  const std::string file = read_file(kToy + "/dev.tsv");
  std::vector<Question> questions;
  std::vector<std::string> labels;
  for (size_t at = file.find('\n') + 1; at < file.size();) {
    const size_t tab = file.find('\t', at), end = file.find('\n', at);
    questions.push_back({lora, file.substr(at, tab - at)});
    labels.push_back(file.substr(tab + 1, end - tab - 1));
    at = end + 1;
  }
  const std::vector<Answer> answers = session.predict(questions);
  double right = 0, loss = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    right += answers[i].label == labels[i] ? 1 : 0;
    loss -= std::log(answers[i].scores[labels[i] == "yes" ? 1 : 0]);
  }
  const auto rows = static_cast<double>(answers.size());
  EXPECT_EQ(scores.rows, std::ssize(answers));
  EXPECT_EQ(scores.metrics.front(), (std::pair<std::string, double>{"accuracy", right / rows}));
  EXPECT_NEAR(scores.loss, loss / rows, 1e-6);
}

double entropy_of(const std::vector<double>& p) {
  double out = 0;
  for (const double each : p) out -= each > 0 ? each * std::log(each) : 0;
  return out;
}

// Two routes: the first is the one that is drawn alone, so that the second follows from the mean.
TEST_F(Sessions, AnswersByRoutesAndTellsWhatTheyDisagreeAbout) {
  const Session session = Session::open(kModel);
  const AdapterHandle drawn = session.load(adapter("drawn"));
  std::vector<Question> questions;
  for (const std::string& text : kTexts) questions.push_back({drawn, text});
  const std::vector<Answer> merged = session.predict(questions),
                            one =
                                session.predict(questions, {.routing = "random", .route_seed = 5}),
                            two = session.predict(questions, {.routing = "ensemble-probabilities",
                                                              .routes = 2,
                                                              .route_seed = 5});
  for (size_t i = 0; i < questions.size(); ++i) {
    EXPECT_FALSE(merged[i].uncertainty.has_value());
    EXPECT_FALSE(one[i].uncertainty.has_value()) << "one route";
    ASSERT_TRUE(two[i].uncertainty.has_value());
    const AnswerUncertainty& own = *two[i].uncertainty;
    std::vector<double> other, variances;
    for (size_t label = 0; label < 2; ++label) {
      other.push_back(2 * two[i].scores[label] - one[i].scores[label]);
      variances.push_back(std::pow(one[i].scores[label] - other[label], 2) / 4);
      EXPECT_NEAR(own.variances[label], variances[label], 1e-6);
    }
    EXPECT_EQ(own.samples, 2);
    EXPECT_NEAR(own.entropy, entropy_of(two[i].scores), 1e-5);
    EXPECT_NEAR(own.expected_entropy, (entropy_of(one[i].scores) + entropy_of(other)) / 2, 1e-5);
    EXPECT_NEAR(own.information, own.entropy - own.expected_entropy, 1e-9);
    EXPECT_EQ(own.disagreement, (one[i].scores[1] > 0.5) == (other[1] > 0.5) ? 0 : 0.5);
  }
  EXPECT_NE(scores_of(one), scores_of(merged));
  EXPECT_NE(scores_of(one), scores_of(session.predict(questions, {.routing = "fixed"})));
}

TEST_F(Sessions, AnswersByPassesWithDropout) {
  const Session session = Session::open(kModel);
  const AdapterHandle lora = session.load(adapter("lora")), ia3 = session.load(adapter("ia3"));
  std::vector<Question> questions;
  for (const std::string& text : kTexts)
    questions.insert(questions.end(), {{lora, text}, {ia3, text}});
  const SampleRequest passes{.dropout_passes = 6, .dropout_seed = 1, .dropout_rate = 0.3};
  SampleRequest others = passes;
  others.dropout_seed = 2;
  const std::vector<Answer> found = session.predict(questions, passes);
  EXPECT_EQ(scores_of(found), scores_of(session.predict(questions, passes)));
  EXPECT_NE(scores_of(found), scores_of(session.predict(questions, others)));
  for (size_t i = 0; i < questions.size(); ++i) {
    ASSERT_TRUE(found[i].uncertainty.has_value());
    EXPECT_EQ(found[i].uncertainty->samples, 6);
    EXPECT_GT(found[i].uncertainty->information, 0);
    EXPECT_NEAR(found[i].uncertainty->entropy, entropy_of(found[i].scores), 1e-5);
    if (i >= 2) continue;  // masks are drawn by a question's place among those of its adapter
    const std::vector<Answer> alone = session.predict({questions[i]}, passes);
    EXPECT_NEAR(alone.front().scores[0], found[i].scores[0], 1e-6);
  }
}

TEST_F(Sessions, RefuseSamplesThatCannotBe) {
  const Session session = Session::open(kModel);
  const AdapterHandle lora = session.load(adapter("lora")), drawn = session.load(adapter("drawn"));
  const auto refused = [&](const AdapterHandle& handle, const SampleRequest& request,
                           const std::string& part) {
    expect_message<InputError>([&] { session.predict({{handle, "happy"}}, request); }, part);
  };
  refused(lora, {.routing = "random"}, "no stochastic mixture to route through");
  refused(session.bare(), {.routing = "random"},
          "routing: the bare model has no stochastic mixture");
  refused(drawn, {.routing = "drawn"}, "/routing: ");
  refused(drawn, {.routes = 3}, "routes: found 3, and there is no ensemble of routes");
  refused(drawn, {.routing = "ensemble-logits", .routes = 1}, "/routes: ");
  refused(lora, {.dropout_seed = 3}, "dropout_seed: found 3, and no pass has dropout");
  refused(lora, {.dropout_passes = 4, .dropout_rate = 2.0}, "/dropout_rate: ");
  refused(drawn, {.routing = "random", .dropout_passes = 4}, "give either routes or passes");
}

TEST_F(Sessions, ARowByColumnIsThatOfItsText) {
  const Session session = Session::open(kModel);
  const AdapterHandle lora = session.load(adapter("lora"));
  const std::vector<Answer> answers = session.predict(
      {{lora, "a sad book"}, {.adapter = lora, .text = "", .cells = {{"text", "a sad book"}}}});
  EXPECT_EQ(answers[0].scores, answers[1].scores);
  expect_message<InputError>(
      [&] {
        session.predict({{.adapter = lora, .text = "", .cells = {{"txet", "sad"}}}});
      },
      "question: no column \"text\"");
}

TEST_F(Sessions, ARowNamesTheSubspaceThatActsForIt) {
  const TempFolder folder;
  write_file_atomically(folder / "skills.yaml",
                        "{name: skills, text: text, label: label, labels: ['no', 'yes'], "
                        "subspace: rows}");
  write_file_atomically(folder / "train.tsv",
                        "text\tlabel\trows\na sad book\tno\t0 1\na fine day\tyes\t2\n");
  RunRequest request;
  request.model = kModel;
  request.task = folder / "skills.yaml";
  request.data = folder / "train.tsv";
  request.out = folder / "run";
  request.definition = "edits: [{reft: {rank: 3, positions: f2}}]";
  request.settings = {"max_steps=4", "learning_rate=1e-2"};
  EXPECT_EQ(train(request), RunEnd::kDone);
  const Session session = Session::open(kModel);
  const AdapterHandle skills = session.load(folder / "run/adapter");
  const auto row = [&](const std::string& rows) {
    return Question{
        .adapter = skills, .text = "", .cells = {{"text", "a sad book"}, {"rows", rows}}};
  };
  const std::vector<Answer> answers =
      session.predict({{skills, "a sad book"}, row("0,1,2"), row("0 1"), row("")});
  EXPECT_EQ(answers[1].scores, answers[0].scores);
  EXPECT_NE(answers[2].scores, answers[0].scores);
  EXPECT_EQ(answers[3].scores, answers[0].scores);
  expect_message<InputError>(
      [&] { session.predict({row("3")}); },
      "question:1: subspace: expected rows that the adapter has, 0..2, found 3");
  const AdapterHandle lora = session.load(adapter("lora"));  // counted among all
  expect_message<InputError>(
      [&] {
        session.predict({{lora, "happy"}, row("1"), {lora, "sad"}, row("3")});
      },
      "question:4: subspace: expected rows that the adapter has, 0..2, found 3");
  EXPECT_EQ(session.score(skills, folder / "train.tsv").rows, 2);
}

TEST_F(Sessions, WritesSideBySideAsEachAlone) {
  const Session session = Session::open(kWriter);
  const AdapterHandle one = session.load(adapter("one")), two = session.load(adapter("two")),
                      bare = session.bare();
  const WritingOptions options{.settings = {"max_new_tokens=6"}};
  std::vector<TextRequest> mixed;
  std::vector<std::string> alone, found;
  for (const char* prompt : {"t", "i", "x"}) {
    for (const AdapterHandle& each : {one, two, bare}) {
      mixed.push_back({each, prompt});
      alone.push_back(session.generate({{each, prompt}}, options).front().text);
    }
  }
  std::vector<std::string> streamed(mixed.size());
  WritingOptions streaming = options;
  streaming.on_text = [&](size_t request, const std::string& piece) { streamed[request] += piece; };
  for (const GeneratedText& text : session.generate(mixed, streaming)) found.push_back(text.text);
  EXPECT_EQ(found, alone);
  EXPECT_EQ(streamed, found);
  EXPECT_NE(std::set<std::string>(found.begin(), found.end()).size(), 1U);
  EXPECT_EQ(session.generate({{one, "t"}}, {.settings = {"max_new_tokens=1"}}).front().finish,
            "length");
}

// From 1 among all, whichever adapter is asked.
TEST_F(Sessions, CountsRequestsAsTheyAreGiven) {
  const Session session = Session::open(kWriter);
  const AdapterHandle one = session.load(adapter("one")), bare = session.bare();
  const TextRequest ready{one, "t"};
  const auto letters = [](size_t count) { return std::string(count, 't'); };
  expect_message<InputError>(
      [&] {
        session.generate({ready, {bare, "t"}, {one, letters(60)}});
      },
      "request:3: the prompt is longer than the ");
  expect_message<InputError>(
      [&] {
        session.generate({ready, {bare, letters(38)}}, {.settings = {"max_new_tokens=10"}});
      },
      "request:2: ");
}

TEST_F(Sessions, SayWithoutMemoryWhatLowersTheNeed) {
  const Session session = Session::open(kModel), writer = Session::open(kWriter);
  const AdapterHandle lora = session.load(adapter("lora")), one = writer.load(adapter("one"));
  LimitedAllocator memory;
  memory.limit = 64;
  expect_message<IoError>([&] { session.predict({{lora, "happy"}}); }, "out of memory: ");
  expect_message<IoError>(
      [&] {
        session.predict({{lora, "happy"}});
      },
      "Ask fewer questions at once, or open the model with precision bf16");
  expect_message<IoError>([&] { writer.generate({{one, "t"}}); }, "Ask for fewer new tokens");
}

TEST_F(Sessions, RefusesWhatDoesNotBelongTogether) {
  const Session session = Session::open(kModel), other = Session::open(kModel),
                writer = Session::open(kWriter);
  const AdapterHandle lora = session.load(adapter("lora")), one = writer.load(adapter("one"));
  expect_message<InputError>([&] { other.predict({{lora, "sad"}}); }, "loaded by another session");
  expect_message<InputError>([&] { session.load(adapter("one")); },
                             "trained on a gpt2 model, but " + kModel + " is a bert model");
  expect_message<InputError>([&] { writer.predict({{one, "t"}}); }, "answers by a text");
  expect_message<InputError>([&] { session.generate({{lora, "sad"}}); }, "writes no text");
  expect_message<InputError>(
      [&] {
        writer.generate({{one, "t"}}, {.settings = {"max_tokens=3"}});
      },
      "/max_tokens: unknown key");
  expect_message<InputError>(
      [&] {
        writer.generate({{one, "t"}}, {.settings = {"=3"}});
      },
      "\"=3\": expected key=value, such as max_new_tokens=60");
  expect_message<InputError>(
      [&] {
        writer.generate({{one, "t"}}, {.stop = {"x", ""}});
      },
      "stop: expected texts, found an empty one");
  expect_message<InputError>(
      [&] {
        writer.predict({{writer.bare(), "t"}});
      },
      "the bare model answers by a text; generate it");
  expect_message<InputError>([&] { session.load(adapter("lora"), "text:a,b"); },
                             "task: the adapter in");
  expect_message<InputError>([&] { writer.bare("text:a,b"); }, "adapter: missing");
  expect_message<InputError>([&] { Session::open(kModel, {.precision = "fp8"}); },
                             "expected fp32 or bf16, found \"fp8\"");
}

TEST_F(Sessions, RefusesAnAdapterOfAnotherTokenizer) {
  const TempFolder folder;
  std::filesystem::copy(kModel, folder / "model", std::filesystem::copy_options::recursive);
  std::string tokenizer = read_file(folder / "model/tokenizer.json");
  const std::string before = "\"lowercase\": true", after = "\"lowercase\": false";
  ASSERT_NE(tokenizer.find(before), std::string::npos);
  tokenizer.replace(tokenizer.find(before), before.size(), after);
  write_file_atomically(folder / "model/tokenizer.json", tokenizer);
  const Session session = Session::open(folder / "model");
  expect_message<InputError>([&] { session.load(adapter("lora")); },
                             "trained with another tokenizer");
}

}  // namespace
}  // namespace graft::testing::test_session
