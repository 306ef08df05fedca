// Answers for two adapters from one session: one model in memory, both adapters in one pass.
//
//   two_adapters MODEL_DIR ADAPTER_DIR ADAPTER_DIR "a sentence" ...
#include <cstdio>
#include <exception>

#include "graft/session.h"

using namespace graft;

void answer(const std::string& model, const std::string& first, const std::string& second,
            const std::vector<std::string>& sentences) {
  const Session session = Session::open(model, {.adapters = {first, second}});
  const std::vector<AdapterHandle> adapters = {session.load(first), session.load(second)};
  std::vector<Question> questions;
  for (const std::string& sentence : sentences) {
    for (const AdapterHandle& adapter : adapters) questions.push_back({adapter, sentence});
  }
  const std::vector<Answer> answers = session.predict(questions);
  for (size_t i = 0; i < answers.size(); ++i)
    std::printf("%s: \"%s\" is %s (%.3f)\n", questions[i].adapter.path().c_str(),
                questions[i].text.c_str(), answers[i].label.c_str(), answers[i].value);
}

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "expected MODEL_DIR ADAPTER_DIR ADAPTER_DIR \"a sentence\" ...\n");
    return 2;
  }
  try {
    answer(argv[1], argv[2], argv[3], {argv + 4, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
