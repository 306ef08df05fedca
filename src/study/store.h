// The file of a study: its members with their settings, and of each that is done its scores,
// curves, answers by row and records, in one SQLite file (doc/studies.md has the tables).
//
// A member's results come in one transaction: a process that is killed leaves a member whole or
// waiting. A file that holds another study, has another version or is damaged is refused before
// anything is written.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/files.h"

namespace graft {

class Database;

// Version of the tables; in the file as SQLite's user_version.
constexpr int64_t kStudyVersion = 1;

struct PlannedMember {
  std::string name;  // "lora, cola, rows 100, seed 1"
  // What it is one of, in the order of the study's file: {"method", "lora"}, {"seed", "1"}.
  std::vector<std::pair<std::string, std::string>> factors;
  std::string settings;  // the whole run as JSON, but for the folder that it is written to

  const std::string* factor(std::string_view key) const;  // null when absent
  friend bool operator==(const PlannedMember&, const PlannedMember&) = default;
};

struct StudyPlan {
  std::string name;
  std::string file;  // the text of STUDY.yaml
  std::vector<PlannedMember> members;

  // Of everything but the text of the file, whose comments may change.
  std::string digest() const;

  // What it and another plan have apart, for a message: "its member 3 is ...".
  std::string difference_from(const StudyPlan& wanted) const;

  // Of each member of `part` the place here, where the same run stands, whatever it is called.
  // Nothing where the studies have other names, or one of the members is missing.
  std::optional<std::vector<size_t>> places_of(const StudyPlan& part) const;
};

enum class MemberState { kWaiting, kDone, kFailed };

struct MemberStatus {
  MemberState state = MemberState::kWaiting;
  std::string reason;  // of a failure

  friend bool operator==(const MemberStatus&, const MemberStatus&) = default;
};

// `side`: "train", "eval", "test", or the name of a data set of its own. A value that does not
// exist is none.
struct FinalScore {
  std::string side, metric;
  std::optional<double> value;
  friend bool operator==(const FinalScore&, const FinalScore&) = default;
};

struct CurvePoint {
  std::string side, metric;
  int64_t step = 0;
  std::optional<double> value;
  friend bool operator==(const CurvePoint&, const CurvePoint&) = default;
};

struct RowAnswer {
  std::string side;
  int64_t row = 0;                // from 0
  std::string id, truth, answer;  // labels by name, numbers and texts as they are
  friend bool operator==(const RowAnswer&, const RowAnswer&) = default;
};

// Means over the evaluation rows of what a gate or router did.
struct RecordedMeans {
  int64_t step = 0;
  std::string name;
  std::string values;  // a JSON list
  friend bool operator==(const RecordedMeans&, const RecordedMeans&) = default;
};

struct NamedNumber {
  std::string name;
  double value = 0;
  friend bool operator==(const NamedNumber&, const NamedNumber&) = default;
};

// None where no number has the name.
std::optional<double> find_number(const std::vector<NamedNumber>& numbers, const std::string& name);

// Each list in an order of its own that is the same for the same run.
struct MemberResult {
  std::vector<FinalScore> scores;
  std::vector<CurvePoint> curve;
  std::vector<RowAnswer> answers;
  std::vector<RecordedMeans> records;
  std::vector<NamedNumber> facts;     // steps, tokens, parameters, ...
  std::vector<NamedNumber> readings;  // of clock and memory: differ from run to run

  // Whether all but the readings is the same.
  bool agrees_with(const MemberResult& other) const;
};

class StudyStore {
 public:
  // Opens the file at `path` for writing, or makes it where there is none. Where `plan` has all
  // members of the file and more, the file gets these. Throws InputError where it holds another
  // study, IoError.
  static StudyStore open(const Path& path, const StudyPlan& plan);
  // On no disk.
  static StudyStore in_memory(const StudyPlan& plan);
  // For reading. Throws InputError where it holds no study of this version.
  static StudyStore read(const Path& path);
  ~StudyStore();
  StudyStore(StudyStore&&) noexcept;

  const Path& path() const;  // ":memory:" of one on no disk
  const StudyPlan& plan() const { return plan_; }
  // Of every member, in the order of the plan; members are named by their index there.
  std::vector<MemberStatus> statuses() const;
  MemberResult result(size_t member) const;  // of one that is done
  // Parts of it, for who reads many members: curves and answers are long.
  MemberResult summary(size_t member) const;  // scores, facts and readings
  std::vector<RowAnswer> answers(size_t member, const std::string& side) const;
  std::vector<NamedNumber> readings(size_t member) const;

  void finish(size_t member, const MemberResult& result);
  void fail(size_t member, const std::string& reason);

 private:
  explicit StudyStore(std::unique_ptr<Database> database);
  void set_state(size_t member, MemberState state, const std::string& reason);

  std::unique_ptr<Database> database_;
  StudyPlan plan_;
};

// Replaces the file of a study by one of `plan`, which has all its members and more: what was done
// stays done. A process that is killed leaves the old file or the new one.
void extend_study(const Path& path, const StudyPlan& plan);

// Puts files of one study together, of whose members each had some done, into the new file `out`.
// Throws InputError where they are of different studies, where a member's results differ between
// two of them, or where `out` exists.
void join_studies(const std::vector<Path>& files, const Path& out);

}  // namespace graft
