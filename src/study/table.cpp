#include "study/table.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "base/spelling.h"
#include "data/metrics.h"
#include "stats/agreement.h"
#include "stats/best_of.h"
#include "study/plan_members.h"

namespace graft {

namespace {

std::string value_in(const Factors& factors, const std::string& name) {
  for (const auto& [factor, value] : factors) {
    if (factor == name) return value;
  }
  return "";
}

Factors without(Factors factors, const std::string& name) {
  std::erase_if(factors, [&](const auto& each) { return each.first == name; });
  return factors;
}

std::string joined_values(const Factors& factors) {
  std::string out;
  for (const auto& [name, value] : factors) out += (out.empty() ? "" : ", ") + value;
  return out;
}

// One side of a member that is done.
struct MemberData {
  MemberResult result;             // but for what is long
  std::vector<RowAnswer> answers;  // of the side
};

class TableMaker {
 public:
  TableMaker(const StudyStore& store, const StudyTableOptions& options)
      : options_(options), plan_(store.plan()), statuses_(store.statuses()) {
    for (size_t i = 0; i < plan_.members.size(); ++i) {
      if (statuses_[i].state != MemberState::kDone) continue;
      done_[i].result = store.summary(i);
    }
    if (done_.empty()) throw InputError("study " + quote(plan_.name) + ": no member is done yet");
    choose_side();
    for (auto& [i, data] : done_) data.answers = store.answers(i, out_.side);
  }

  StudyTable make() {
    out_.study = plan_.name;
    out_.compared = options_.compared;
    out_.alpha = options_.alpha;
    out_.level = options_.level;
    make_cells();
    make_comparisons();
    make_ranks();
    return std::move(out_);
  }

 private:
  void choose_side() {
    std::vector<std::string> sides;
    bool all_have_test = true;
    for (const auto& [i, data] : done_) {
      bool has_test = false;
      for (const FinalScore& score : data.result.scores) {
        has_test |= score.side == "test";
        if (std::find(sides.begin(), sides.end(), score.side) == sides.end())
          sides.push_back(score.side);
      }
      all_have_test &= has_test;
    }
    out_.side = !options_.side.empty() ? options_.side : all_have_test ? "test" : "eval";
    if (std::find(sides.begin(), sides.end(), out_.side) == sides.end())
      throw InputError("study " + quote(plan_.name) + ": no scores of " + quote(out_.side) +
                       "; there are " + (sides.empty() ? "none at all" : joined(sides)));
  }

  // The score that a member is judged by, and its name.
  std::pair<std::string, double> score_of(size_t member) const {
    std::vector<std::string> known;
    for (const FinalScore& score : done_.at(member).result.scores) {
      if (score.side != out_.side) continue;
      known.push_back(score.metric);
      if (!options_.metric.empty() && score.metric != options_.metric) continue;
      if (!score.value)
        throw InputError("member " + quote(plan_.members[member].name) + ": its " + score.metric +
                         " does not exist (a constant answer, or a loss without an end); choose "
                         "another " +
                         option_name("metric"));
      return {score.metric, *score.value};
    }
    if (known.empty())
      throw InputError("member " + quote(plan_.members[member].name) + ": has no scores of " +
                       out_.side + "; choose another " + option_name("side"));
    throw InputError("member " + quote(plan_.members[member].name) + ": has no score " +
                     quote(options_.metric) + " of " + out_.side +
                     did_you_mean(options_.metric, known) + "; there are " + joined(known));
  }

  void make_cells() {
    for (size_t i = 0; i < plan_.members.size(); ++i) {
      Factors factors;
      for (const auto& factor : plan_.members[i].factors) {
        if (!is_seed_setting(factor.first)) factors.push_back(factor);
      }
      auto cell = std::find_if(out_.cells.begin(), out_.cells.end(),
                               [&](const ResultCell& each) { return each.factors == factors; });
      if (cell == out_.cells.end()) {
        out_.cells.push_back({.factors = factors});
        cell = std::prev(out_.cells.end());
      }
      if (statuses_[i].state == MemberState::kDone) add_member(i, *cell);
      else (statuses_[i].state == MemberState::kFailed ? cell->failed : cell->waiting) += 1;
    }
    for (ResultCell& cell : out_.cells) summarise_cell(cell);
  }

  void add_member(size_t member, ResultCell& cell) const {
    const auto [metric, value] = score_of(member);
    if (!cell.metric.empty() && cell.metric != metric)
      throw InputError("study " + quote(plan_.name) + ": members " +
                       quote(plan_.members[cell.members.front()].name) + " and " +
                       quote(plan_.members[member].name) +
                       " differ in seeds alone, and the first is judged by " + cell.metric +
                       ", the second by " + metric + "; choose a " + option_name("metric") +
                       " that both have");
    cell.metric = metric;
    cell.by_seed[seeds_of(plan_.members[member])] = value;
    cell.members.push_back(member);
  }

  void summarise_cell(ResultCell& cell) const {
    if (cell.members.empty()) return;
    std::vector<double> scores;
    for (const auto& [seed, score] : cell.by_seed) scores.push_back(score);
    cell.summary = summarise(scores);
    cell.interval = student_interval(scores, options_.level);
    const double sign = is_less_better(cell.metric) ? -1 : 1;
    for (double& score : scores) score *= sign;
    cell.best_of = expected_best(scores);
    for (double& best : cell.best_of) best *= sign;
    cell.parameters = find_number(done_.at(cell.members.front()).result.facts, "edit_parameters");
    double seconds = 0;
    for (const size_t member : cell.members)
      seconds += find_number(done_.at(member).result.readings, "seconds").value_or(0);
    cell.seconds = seconds / static_cast<double>(cell.members.size());
    cell.bytes = find_number(done_.at(cell.members.front()).result.facts, "adapter_bytes");
    for (const size_t member : cell.members) {
      const auto own = find_number(done_.at(member).result.readings, "peak_bytes");
      if (own) cell.memory = std::max(cell.memory.value_or(0), *own);
    }
    measure_agreement(cell);
  }

  // Whether the members answered the same rows.
  bool has_same_rows(size_t a, size_t b) const {
    const std::vector<RowAnswer>&x = done_.at(a).answers, &y = done_.at(b).answers;
    return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                      [](const RowAnswer& one, const RowAnswer& other) {
                        return one.id == other.id && one.truth == other.truth;
                      });
  }

  void measure_agreement(ResultCell& cell) const {
    const size_t first = cell.members.front();
    if (cell.members.size() < 2 || done_.at(first).answers.empty()) return;
    std::map<std::string, int64_t> numbers;
    AnswerTable table;
    for (const size_t member : cell.members) {
      if (!has_same_rows(first, member)) return;
      std::vector<int64_t>& row = table.emplace_back();
      for (const RowAnswer& answer : done_.at(member).answers)
        row.push_back(
            numbers.emplace(answer.answer, static_cast<int64_t>(numbers.size())).first->second);
    }
    cell.agreement = pairwise_agreement(table);
    cell.kappa = fleiss_kappa(table);
  }

  void make_comparisons() {
    std::set<std::string> values;
    for (const ResultCell& cell : out_.cells) {
      const std::string value = value_in(cell.factors, options_.compared);
      if (!value.empty()) values.insert(value);
    }
    const std::vector<std::string> known(values.begin(), values.end());
    if (is_seed_setting(options_.compared))
      throw InputError(option_name("compare") + ": " + quote(options_.compared) +
                       " is a seed, over which the others are compared; choose another factor");
    if (known.empty())
      throw InputError("study " + quote(plan_.name) + ": has no factor " +
                       quote(options_.compared) + "; its members have " + joined_values_of_names());
    if (!options_.baseline.empty() && values.count(options_.baseline) == 0)
      throw InputError("study " + quote(plan_.name) + ": no " + options_.compared + " is called " +
                       quote(options_.baseline) + did_you_mean(options_.baseline, known) +
                       "; there are " + joined(known));
    for (size_t a = 0; a < out_.cells.size(); ++a) {
      for (size_t b = a + 1; b < out_.cells.size(); ++b) compare(out_.cells[a], out_.cells[b]);
    }
    correct();
  }

  std::string joined_values_of_names() const {
    std::vector<std::string> names;
    for (const auto& [name, value] : plan_.members.front().factors) {
      if (!is_seed_setting(name)) names.push_back(name);
    }
    return joined(names);
  }

  void compare(const ResultCell& a, const ResultCell& b) {
    const std::string& factor = options_.compared;
    if (without(a.factors, factor) != without(b.factors, factor)) return;
    Comparison out;
    out.group = without(a.factors, factor);
    out.first = value_in(a.factors, factor);
    out.second = value_in(b.factors, factor);
    const bool is_with_baseline = out.first == options_.baseline || out.second == options_.baseline;
    if (!options_.baseline.empty() && !is_with_baseline) return;
    const bool turns = !options_.baseline.empty() && out.first == options_.baseline;
    const ResultCell &one = turns ? b : a, &other = turns ? a : b;
    if (turns) std::swap(out.first, out.second);
    if (!one.members.empty() && !other.members.empty() && one.metric != other.metric)
      throw InputError("study " + quote(plan_.name) + ": " + out.first + " is judged by " +
                       one.metric + " and " + out.second + " by " + other.metric + "; choose a " +
                       option_name("metric") + " that both have");
    out.metric = one.metric;
    const double sign = is_less_better(out.metric) ? -1 : 1;
    for (const auto& [seed, score] : one.by_seed) {
      const auto found = other.by_seed.find(seed);
      if (found != other.by_seed.end()) out.differences.push_back(sign * (score - found->second));
    }
    if (out.differences.empty()) return;
    const RandomKey key = RandomKey{}.with(out.first).with(out.second);
    out.summary = summarise(out.differences);
    out.student = student_interval(out.differences, options_.level);
    out.bca = bca_interval(out.differences, {.level = options_.level, .key = key.with("bca")});
    out.flips = sign_flip_test(out.differences, key.with("flips"));
    out.rows = compare_rows(one, other);
    out_.comparisons.push_back(std::move(out));
  }

  // For each row of the cell's members, how many answer it rightly.
  std::vector<int64_t> right_answers(const ResultCell& cell) const {
    std::vector<int64_t> right(done_.at(cell.members.front()).answers.size());
    for (const size_t member : cell.members) {
      const std::vector<RowAnswer>& answers = done_.at(member).answers;
      for (size_t row = 0; row < answers.size(); ++row)
        right[row] += answers[row].answer == answers[row].truth ? 1 : 0;
    }
    return right;
  }

  std::optional<McNemar> compare_rows(const ResultCell& one, const ResultCell& other) const {
    const size_t first = one.members.front();
    if (done_.at(first).answers.empty()) return std::nullopt;
    for (const ResultCell* cell : {&one, &other}) {
      for (const size_t member : cell->members) {
        if (!has_same_rows(first, member)) return std::nullopt;
      }
    }
    const std::vector<int64_t> a = right_answers(one), b = right_answers(other);
    const auto none_right = [](const std::vector<int64_t>& counts) {
      return std::all_of(counts.begin(), counts.end(), [](int64_t count) { return count == 0; });
    };
    if (none_right(a) && none_right(b)) return std::nullopt;  // numbers, not labels
    int64_t only_a = 0, only_b = 0;
    for (size_t row = 0; row < a.size(); ++row) {
      const bool is_a = 2 * a[row] > static_cast<int64_t>(one.members.size()),
                 is_b = 2 * b[row] > static_cast<int64_t>(other.members.size());
      only_a += is_a && !is_b ? 1 : 0;
      only_b += is_b && !is_a ? 1 : 0;
    }
    return mcnemar(only_a, only_b);
  }

  void correct() {
    std::vector<double> p;
    for (const Comparison& each : out_.comparisons) p.push_back(each.flips.p);
    const std::vector<double> corrected = holm(p);
    for (size_t i = 0; i < corrected.size(); ++i) {
      Comparison& each = out_.comparisons[i];
      each.holm_p = corrected[i];
      const bool is_apart = each.student && !each.student->contains(0) && !each.bca->contains(0);
      each.is_decided = corrected[i] < options_.alpha && is_apart;
      if (each.is_decided || !each.summary.deviation) continue;
      // The smallest p of all counts as often as there are comparisons.
      each.needed = pairs_to_decide(each.summary.mean, *each.summary.deviation,
                                    options_.alpha / static_cast<double>(p.size()));
    }
  }

  // Over every group and seed in which each value has a score.
  void make_ranks() {
    std::vector<std::string> values;
    std::map<std::string, std::map<std::string, double>> table;  // by group and seed, by value
    for (const ResultCell& cell : out_.cells) {
      const std::string value = value_in(cell.factors, options_.compared);
      if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
      const std::string group = joined_values(without(cell.factors, options_.compared));
      const double sign = is_less_better(cell.metric) ? -1 : 1;
      for (const auto& [seed, score] : cell.by_seed)
        table[group + "\n" + seed][value] = sign * score;
    }
    ScoreTable scores;
    for (const auto& [place, by_value] : table) {
      if (by_value.size() != values.size()) continue;
      std::vector<double>& row = scores.emplace_back();
      for (const std::string& value : values) row.push_back(by_value.at(value));
    }
    if (scores.empty() || values.size() < 2) return;
    const std::vector<AverageRank> ranks =
        average_ranks(scores, {.level = options_.level, .key = RandomKey{}.with("ranks")});
    for (size_t k = 0; k < values.size(); ++k) out_.ranks.push_back({values[k], ranks[k]});
    std::stable_sort(out_.ranks.begin(), out_.ranks.end(),
                     [](const RankRow& a, const RankRow& b) { return a.rank.mean < b.rank.mean; });
    out_.friedman = friedman_test(scores);
    out_.ranked_cells = static_cast<int64_t>(scores.size());
  }

  const StudyTableOptions& options_;
  const StudyPlan& plan_;
  std::vector<MemberStatus> statuses_;
  std::map<size_t, MemberData> done_;
  StudyTable out_;
};

}  // namespace

std::string seeds_of(const PlannedMember& member) {
  Factors seeds;
  for (const auto& factor : member.factors) {
    if (is_seed_setting(factor.first)) seeds.push_back(factor);
  }
  return joined_values(seeds);
}

StudyTable make_table(const StudyStore& store, const StudyTableOptions& options) {
  return TableMaker(store, options).make();
}

}  // namespace graft
