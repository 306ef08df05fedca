// Trains a LoRA adapter on a file of rows and applies it to a sentence, through the library.
//
//   train_and_apply MODEL_DIR TRAIN.tsv RUN_DIR "a sentence"
// TRAIN.tsv has the columns text and label; the labels are no and yes.
#include <cstdio>
#include <exception>

#include "graft/run.h"
#include "graft/session.h"

using namespace graft;

// Told of every step; a bar or a stop button would stand here.
class Printer final : public Observer {
  void stepped(const StepReport& report) override {
    if (report.step % 10 == 0)
      std::printf("step %lld of %lld: loss %.3f\n", static_cast<long long>(report.step),
                  static_cast<long long>(report.total_steps), report.loss);
  }
};

void run(const std::string& model, const std::string& data, const std::string& out,
         const std::string& sentence) {
  // Train. Every setting that is not given has the default of doc/run_folder.md.
  RunRequest request;
  request.model = model;
  request.task = "text:no,yes";
  request.data = data;
  request.out = out;
  request.definition = "edits: [{lora: {sites: [attn.q, attn.v], rank: 4}}]";
  request.settings = {"learning_rate=1e-2"};
  Printer printer;
  train(request, /*share=*/"", &printer);

  // Apply: the adapter is read back as anyone else would read it.
  const Session session = Session::open(model);
  const AdapterHandle adapter = session.load(out + "/adapter");
  const Scores scores = session.score(adapter, data);
  const Answer answer = session.predict({{adapter, sentence}}).front();
  std::printf("%s of the training rows: %.3f\n", scores.metrics.front().first.c_str(),
              scores.metrics.front().second);
  std::printf("\"%s\": no %.3f, yes %.3f\n", sentence.c_str(), answer.scores[0], answer.scores[1]);
}

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "expected MODEL_DIR TRAIN.tsv RUN_DIR \"a sentence\"\n");
    return 2;
  }
  try {
    run(argv[1], argv[2], argv[3], argv[4]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
