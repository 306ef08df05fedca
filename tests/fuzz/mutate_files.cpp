// mutate_files COUNT [SEED [FIRST [SUMMARY]]]: damages COUNT sound checkpoints, adapters, models,
// tokenizers, GGUF, YAML and data files, each by the draw of (SEED, its number), and reads each in
// this process.
//
// A reader refuses with InputError or IoError, in a message fit for a terminal, or accepts; what it
// accepts is used and checked (tests/fuzz/subject.cpp). Anything else is a failure, named by its
// number: mutate_files 1 SEED NUMBER does it again. A case that takes more than a minute ends the
// program. SUMMARY: a JSON file, whose section "mutations" then has the counts of this run; what
// else it holds stays.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/document.h"
#include "base/error.h"
#include "base/printable.h"
#include "tests/fuzz/mutation.h"
#include "tests/fuzz/subject.h"
#include "tests/support/testing.h"

namespace {

using namespace graft;
using namespace graft::testing;

enum class Outcome { kAccepted, kRefused, kFailed };

struct Counts {
  int64_t accepted = 0, refused = 0, failed = 0;
};

Outcome failed(uint64_t number, const Subject& subject, const std::string& done,
               const std::string& why) {
  std::printf("FAILED: case %llu, %s, %s: %s\n", static_cast<unsigned long long>(number),
              subject.name.c_str(), done.c_str(), printable(why, 1000).c_str());
  return Outcome::kFailed;
}

Outcome run_case(uint64_t seed, uint64_t number) {
  const Subject& subject = subjects()[number % subjects().size()];
  Random random(RandomKey{seed}.with(number));
  const TempFolder folder;
  subject.make(folder.path(), random.bits());
  const std::string done = mutate_file(folder.path(), random);
  ::alarm(60);
  try {
    subject.read(folder.path());
    return Outcome::kAccepted;
  } catch (const InternalError& error) {
    return failed(number, subject, done, error.what());
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message_text(message) != message)
      return failed(number, subject, done, "a message that steers or fills a terminal: " + message);
    return Outcome::kRefused;
  } catch (const std::exception& error) {
    return failed(number, subject, done,
                  std::string("an exception of another kind: ") + error.what());
  }
}

// Undamaged, every kind is accepted: else nothing would be tried.
bool accepts_sound_ones() {
  bool all = true;
  for (const Subject& subject : subjects()) {
    for (uint64_t number = 0; number < 5; ++number) {
      const TempFolder folder;
      subject.make(folder.path(), number);
      try {
        subject.read(folder.path());
      } catch (const std::exception& error) {
        std::printf("FAILED: sound %s %llu: %s\n", subject.name.c_str(),
                    static_cast<unsigned long long>(number), error.what());
        all = false;
      }
    }
  }
  return all;
}

Counts sum_of(const std::vector<Counts>& counts) {
  Counts sum;
  for (const Counts& each : counts) {
    sum.accepted += each.accepted;
    sum.refused += each.refused;
    sum.failed += each.failed;
  }
  return sum;
}

std::string text_of(const Counts& counts) {
  return std::to_string(counts.refused) + " refused, " + std::to_string(counts.accepted) +
         " accepted and right, " + std::to_string(counts.failed) + " failed";
}

Node node_of(const Counts& counts) {
  return Node::map({{"refused", Node::integer(counts.refused)},
                    {"accepted", Node::integer(counts.accepted)},
                    {"failed", Node::integer(counts.failed)}});
}

void record(const Path& file, const std::string& command, const std::vector<Counts>& counts) {
  Node summary =
      std::filesystem::exists(file) ? parse_json(read_file(file), file.string()) : Node::map();
  Node kinds = Node::map();
  for (size_t i = 0; i < counts.size(); ++i) kinds[subjects()[i].name] = node_of(counts[i]);
  summary["mutations"] = Node::map({{"command", Node::text(command)},
                                    {"kinds", std::move(kinds)},
                                    {"all", node_of(sum_of(counts))}});
  write_file_atomically(file, to_json(summary, 1));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 5) {
    std::fprintf(stderr, "usage: mutate_files COUNT [SEED [FIRST [SUMMARY]]]\n");
    return 2;
  }
  const uint64_t count = std::strtoull(argv[1], nullptr, 10),
                 seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1,
                 first = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 0;
  if (!accepts_sound_ones()) return 1;
  std::vector<Counts> counts(subjects().size());
  for (uint64_t number = first; number < first + count; ++number) {
    Counts& own = counts[number % counts.size()];
    switch (run_case(seed, number)) {
      case Outcome::kAccepted: ++own.accepted; break;
      case Outcome::kRefused: ++own.refused; break;
      case Outcome::kFailed: ++own.failed; break;
    }
  }
  const Counts sum = sum_of(counts);
  ensure(sum.accepted + sum.refused + sum.failed == static_cast<int64_t>(count),
         "every case has an outcome");
  for (size_t i = 0; i < counts.size(); ++i)
    std::printf("%-16s %s\n", subjects()[i].name.c_str(), text_of(counts[i]).c_str());
  const std::string run =
      std::to_string(count) + " " + std::to_string(seed) + " " + std::to_string(first);
  std::printf("mutate_files %s: %s\n", run.c_str(), text_of(sum).c_str());
  if (argc > 4) record(argv[4], "mutate_files " + run, counts);
  return sum.failed == 0 && (count < 100 || (sum.refused > 0 && sum.accepted > 0)) ? 0 : 1;
}
