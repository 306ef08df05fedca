#include "study/search_run.h"

#include <algorithm>

#include "base/digest.h"
#include "base/error.h"
#include "base/spelling.h"
#include "data/metrics.h"
#include "study/kept_node.h"
#include "study/search.h"
#include "study/search_record.h"
#include "study/search_trials.h"

namespace graft {

namespace {

// What came of the runs of a trial, one a seed.
class TrialEnds final : public StudyEnds {
 public:
  struct End {
    MemberResult result = {};
    std::string reason = {};  // why it failed
  };

  TrialEnds(size_t runs, std::function<void(size_t run)> starts)
      : ends_(runs), starts_(std::move(starts)) {}

  void started(size_t run) override { starts_(run); }
  void finished(size_t run, const MemberResult& result) override {
    ends_[run].result = result;
    ++told_;
  }
  void failed(size_t run, const std::string& reason) override {
    ends_[run].reason = reason;
    ++told_;
  }
  void advanced(double) override {}

  const std::vector<End>& ends() const { return ends_; }
  bool all_are_told() const { return told_ == ends_.size(); }

 private:
  std::vector<End> ends_;
  size_t told_ = 0;
  std::function<void(size_t run)> starts_;
};

// How a number stands in a digest. By six decimals, as in files of earlier versions, small ones
// that differ look alike.
std::string six_decimals(double value) { return std::to_string(value); }
std::string exactly(double value) { return Node::number(value).scalar; }

class SearchRunner {
 public:
  SearchRunner(StudyFile& study, StudyEngine& engine, const SearchOptions& options)
      : study_(study), engine_(engine), options_(options), groups_(groups_of(study)) {
    done_ = Node::map({{"version", Node::integer(kSearchVersion)},
                       {"digest", Node::text(digest(exactly))},
                       {"searches", Node::list()}});
    read();
    most_ = groups_.size() * most_trials(*study.search) * study.search->seeds.size();
  }

  bool run() {
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (!search(g)) return false;
    }
    write();
    return true;
  }

 private:
  Path file() const { return options_.out / kSearchFile; }

  // Of all that a trial's score depends on.
  std::string digest(std::string (*number)(double)) {
    std::string text;
    for (const SearchGroup& group : groups_) {
      const std::unique_ptr<Searcher> searcher = searcher_of(group);
      const Trial first = *searcher->ask();
      const MemberDraft draft =
          draft_of(*study_.search, group, first, study_.search->seeds.front());
      text += group.name + "\n" + to_json(engine_.resolve(study_, draft), -1) + "\n";
    }
    for (const int64_t seed : study_.search->seeds) text += std::to_string(seed) + " ";
    for (const SearchAxis& axis : study_.search->axes) {
      text += axis.key + " " + number(axis.low) + " " + number(axis.high);
      for (const std::string& value : axis.values) text += " " + value;
    }
    if (study_.search->halving) {
      text += study_.search->halving->key + std::to_string(study_.search->halving->factor);
      for (const double budget : study_.search->halving->budgets) text += number(budget);
    }
    text += std::to_string(study_.search->tries) + " " + std::to_string(study_.search->draw);
    return sha256(text);
  }

  std::unique_ptr<Searcher> searcher_of(const SearchGroup& group) const {
    return make_searcher(*study_.search, RandomKey{}.with("search").with(group.name));
  }

  void read() {
    if (!std::filesystem::exists(file())) return;
    Node found = parse_json(read_file(file()), file().string());
    const Node* kept = found.find("digest");
    const bool is_same = kept != nullptr && (kept->scalar == done_.find("digest")->scalar ||
                                             kept->scalar == digest(six_decimals));
    if (!is_same)
      throw InputError("'" + file().string() +
                       "': holds another search than the study's; move it away, or give another "
                       "folder");
    earlier_ = std::move(found);
  }

  // The trials of an earlier process, in their order.
  std::vector<KeptNode> earlier(size_t group) const {
    if (earlier_.find("searches") == nullptr) return {};
    const std::vector<KeptNode> searches =
        KeptNode(earlier_, file().string()).at("searches").items();
    return group < searches.size() ? searches[group].at("trials").items() : std::vector<KeptNode>();
  }

  bool search(size_t g) {
    const SearchGroup& group = groups_[g];
    const std::unique_ptr<Searcher> searcher = searcher_of(group);
    std::vector<KeptNode> known = earlier(g);
    if (options_.retries_failed && options_.may_run) known.erase(first_failed(known), known.end());
    std::vector<Node> trials;
    while (const std::optional<Trial> trial = searcher->ask()) {
      std::optional<TrialRecord> record;
      if (trials.size() < known.size()) record = record_of(known[trials.size()], *trial);
      else record = try_out(group, *trial);
      if (!record) return false;
      searcher->tell(goodness(*record));
      trials.push_back(to_node(*record));
      keep(group, trials, *searcher, false);
      if (is_stopped_) return false;
    }
    const std::optional<Trial> best = searcher->best();
    if (!best)
      throw InputError(
          "search of " + quote(group.name) +
          ": every trial failed, the last one by: " + trials.back().find("reason")->scalar + " (" +
          option_name("retry-failed") + " tries them again)");
    keep(group, trials, *searcher, true);
    for (const size_t member : group.members) {
      for (const auto& [key, value] : best->settings) {
        const bool is_budget = study_.search->halving && key == study_.search->halving->key;
        if (!is_budget)
          study_.members[member].settings.push_back(
              {key, value, place_of_key(*study_.search, key)});
      }
    }
    return true;
  }

  static std::vector<KeptNode>::iterator first_failed(std::vector<KeptNode>& trials) {
    return std::find_if(trials.begin(), trials.end(),
                        [](const KeptNode& trial) { return !trial.at("reason").text().empty(); });
  }

  static std::optional<double> goodness(const TrialRecord& record) {
    const std::optional<double> mean = record.mean();
    return mean && is_less_better(record.metric) ? -*mean : mean;
  }

  // None where the engine was asked to stop.
  std::optional<TrialRecord> try_out(const SearchGroup& group, const Trial& trial) {
    if (!options_.may_run)
      throw InputError("the search of " + quote(group.name) + " is not over in '" +
                       file().string() +
                       "': run it once without a shard, and copy the file to each folder");
    TrialRecord record{trial, {}, "", ""};
    if (!run_seeds(group, trial, record)) return std::nullopt;
    has_new_ = true;
    if (!record.reason.empty() && options_.failed)
      options_.failed(group.name + ", try " + std::to_string(trial.candidate + 1), record.reason);
    return record;
  }

  // The trial's runs, one a seed. False where the engine was asked to stop.
  bool run_seeds(const SearchGroup& group, const Trial& trial, TrialRecord& record) {
    std::vector<PlannedMember> members;
    std::vector<Path> folders;
    try {
      for (const int64_t seed : study_.search->seeds) {
        const MemberDraft draft = draft_of(*study_.search, group, trial, seed);
        members.push_back({draft.name, draft.factors, to_json(engine_.resolve(study_, draft), -1)});
        engine_.check(members.back());
        folders.push_back(options_.out / "search" / draft.folder);
      }
    } catch (const InputError& error) {
      record.reason = error.what();
      return true;
    }
    std::vector<StudyRun> runs;
    for (size_t i = 0; i < members.size(); ++i) runs.push_back({i, &members[i], folders[i]});
    TrialEnds ends(runs.size(), [&](size_t run) {
      if (options_.starts) options_.starts(members[run].name, done_runs_, most_);
      ++done_runs_;
    });
    is_stopped_ = !engine_.run(runs, ends);
    if (is_stopped_ && !ends.all_are_told()) return false;
    for (const TrialEnds::End& end : ends.ends()) {
      if (record.reason.empty()) record.reason = end.reason;
      if (record.reason.empty()) add_score(end.result, record);
    }
    return true;
  }

  static void add_score(const MemberResult& result, TrialRecord& record) {
    for (const FinalScore& score : result.scores) {
      if (score.side != "eval") continue;
      record.metric = score.metric;
      if (score.value) record.scores.push_back(*score.value);
      else record.reason = "its " + score.metric + " does not exist";
      return;
    }
    record.reason = "has no score of rows that choose; give its task eval rows";
  }

  // Writes what is known so far.
  void keep(const SearchGroup& group, const std::vector<Node>& trials, const Searcher& searcher,
            bool is_over) {
    Node node = search_node(group.name, trials, searcher, is_over);
    std::vector<Node>& searches = done_["searches"].items;
    const bool is_known = !searches.empty() && searches.back().find("name")->scalar == group.name;
    if (is_known) searches.back() = std::move(node);
    else searches.push_back(std::move(node));
    if (has_new_) write();  // else the file says more than what has been told again so far
  }

  void write() const {
    make_directories(options_.out);
    write_file_atomically(file(), to_json(done_));
  }

  StudyFile& study_;
  StudyEngine& engine_;
  const SearchOptions& options_;
  std::vector<SearchGroup> groups_;
  Node done_, earlier_ = Node::map();
  size_t done_runs_ = 0, most_ = 0;
  bool has_new_ = false;
  bool is_stopped_ = false;  // when the last trial had come to its end
};

}  // namespace

bool run_search(StudyFile& study, StudyEngine& engine, const SearchOptions& options) {
  check_search(study, engine);
  std::optional<FolderLock> lock;
  if (options.may_run) {
    const Path folder = options.out / "search";
    make_directories(folder);
    lock.emplace(folder);
  }
  return SearchRunner(study, engine, options).run();
}

}  // namespace graft
