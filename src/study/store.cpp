#include "study/store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/digest.h"
#include "base/document.h"
#include "base/error.h"
#include "base/names.h"
#include "base/version.h"
#include "study/database.h"

namespace graft {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kApplication = 0x47725374;  // "GrSt", SQLite's application_id

constexpr Name<MemberState> kStates[] = {{MemberState::kWaiting, "waiting"},
                                         {MemberState::kDone, "done"},
                                         {MemberState::kFailed, "failed"}};

// doc/studies.md explains them.
constexpr const char* kTables = R"(
CREATE TABLE study (
  name TEXT NOT NULL, file TEXT NOT NULL, digest TEXT NOT NULL, graft TEXT NOT NULL) STRICT;
CREATE TABLE members (
  member INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, settings TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'failed')), reason TEXT NOT NULL) STRICT;
CREATE TABLE factors (
  member INTEGER NOT NULL REFERENCES members, place INTEGER NOT NULL, name TEXT NOT NULL,
  value TEXT NOT NULL, PRIMARY KEY (member, place)) STRICT, WITHOUT ROWID;
CREATE TABLE scores (
  member INTEGER NOT NULL REFERENCES members, place INTEGER NOT NULL, side TEXT NOT NULL,
  metric TEXT NOT NULL, value REAL, PRIMARY KEY (member, place)) STRICT, WITHOUT ROWID;
CREATE TABLE curve (
  member INTEGER NOT NULL REFERENCES members, place INTEGER NOT NULL, side TEXT NOT NULL,
  metric TEXT NOT NULL, step INTEGER NOT NULL, value REAL,
  PRIMARY KEY (member, place)) STRICT, WITHOUT ROWID;
CREATE TABLE answers (
  member INTEGER NOT NULL REFERENCES members, side TEXT NOT NULL, row INTEGER NOT NULL,
  id TEXT NOT NULL, truth TEXT NOT NULL, answer TEXT NOT NULL,
  PRIMARY KEY (member, side, row)) STRICT, WITHOUT ROWID;
CREATE TABLE records (
  member INTEGER NOT NULL REFERENCES members, place INTEGER NOT NULL, step INTEGER NOT NULL,
  name TEXT NOT NULL, means TEXT NOT NULL, PRIMARY KEY (member, place)) STRICT, WITHOUT ROWID;
CREATE TABLE facts (
  member INTEGER NOT NULL REFERENCES members, place INTEGER NOT NULL, name TEXT NOT NULL,
  value REAL NOT NULL, PRIMARY KEY (member, place)) STRICT, WITHOUT ROWID;
CREATE TABLE readings (
  member INTEGER NOT NULL REFERENCES members, place INTEGER NOT NULL, name TEXT NOT NULL,
  value REAL NOT NULL, PRIMARY KEY (member, place)) STRICT, WITHOUT ROWID;
)";

constexpr const char* kResultTables[] = {"scores",  "curve", "answers",
                                         "records", "facts", "readings"};

void write_plan(Database& database, const StudyPlan& plan) {
  Transaction transaction(database);
  database.execute(kTables);
  database.execute(("PRAGMA application_id = " + std::to_string(kApplication)).c_str());
  database.execute(("PRAGMA user_version = " + std::to_string(kStudyVersion)).c_str());
  database.prepare("INSERT INTO study VALUES (?, ?, ?, ?)")
      .bind(plan.name)
      .bind(plan.file)
      .bind(plan.digest())
      .bind(std::string_view(kVersionText))
      .run();
  Statement member = database.prepare("INSERT INTO members VALUES (?, ?, ?, 'waiting', '')"),
            factor = database.prepare("INSERT INTO factors VALUES (?, ?, ?, ?)");
  for (size_t i = 0; i < plan.members.size(); ++i) {
    const PlannedMember& each = plan.members[i];
    const auto id = static_cast<int64_t>(i);
    member.bind(id).bind(each.name).bind(each.settings).run();
    int64_t place = 0;
    for (const auto& [name, value] : each.factors)
      factor.bind(id).bind(place++).bind(name).bind(value).run();
  }
  transaction.commit();
}

// The whole file under another name first: at `path` there is a study or nothing.
void create(const Path& path, const StudyPlan& plan) {
  if (path.has_parent_path()) make_directories(path.parent_path());
  const Path fresh = path.parent_path() / ("." + path.filename().string() + ".new");
  for (const char* end : {"", "-journal"}) fs::remove(fresh.string() + end);  // a killed process's
  {
    Database database(fresh, Database::Mode::kCreate);
    write_plan(database, plan);
  }
  if (::link(fresh.c_str(), path.c_str()) != 0) {  // never replaces
    const int error = errno;
    fs::remove(fresh);
    throw IoError("cannot make '" + path.string() + "': " + std::strerror(error));
  }
  fs::remove(fresh);
  sync_directory(path.has_parent_path() ? path.parent_path() : Path("."));
}

void check_is_study(Database& database) {
  const std::string where = "'" + database.path().string() + "': ";
  if (database.integer("PRAGMA application_id") != kApplication)
    throw InputError(where + "is no study, and is left as it is; give another file");
  const int64_t version = database.integer("PRAGMA user_version");
  if (version != kStudyVersion)
    throw InputError(where + "expected a study of version " + std::to_string(kStudyVersion) +
                     ", found version " + std::to_string(version) +
                     "; use the graft that wrote it, or another file");
  Statement check = database.prepare("PRAGMA quick_check(1)");
  check.step();
  if (const std::string says = check.text(0); says != "ok")
    throw InputError(where + "is damaged (" + says + "); nothing was written to it");
}

StudyPlan read_plan(Database& database) {
  StudyPlan plan;
  Statement study = database.prepare("SELECT name, file FROM study");
  ensure(study.step(), "a study's file has no row in its table 'study'");
  plan.name = study.text(0);
  plan.file = study.text(1);
  Statement members = database.prepare("SELECT name, settings FROM members ORDER BY member");
  while (members.step()) plan.members.push_back({members.text(0), {}, members.text(1)});
  Statement factors =
      database.prepare("SELECT member, name, value FROM factors ORDER BY member, place");
  while (factors.step()) {
    const auto member = static_cast<size_t>(factors.integer(0));
    if (member >= plan.members.size())
      throw InputError("'" + database.path().string() + "': is damaged (a factor of member " +
                       std::to_string(member) + ", of which there is none)");
    plan.members[member].factors.emplace_back(factors.text(1), factors.text(2));
  }
  return plan;
}

// What the two plans have apart, for a message.
std::string difference_of(const StudyPlan& found, const StudyPlan& wanted) {
  if (found.name != wanted.name) return "it holds the study " + quote(found.name);
  if (found.members.size() != wanted.members.size())
    return "its study has " + std::to_string(found.members.size()) + " members, this one " +
           std::to_string(wanted.members.size());
  for (size_t i = 0; i < found.members.size(); ++i) {
    if (found.members[i].name != wanted.members[i].name)
      return "its member " + std::to_string(i + 1) + " is " + quote(found.members[i].name) +
             ", and " + quote(wanted.members[i].name) + " here";
    if (found.members[i] != wanted.members[i])
      return "the settings of its member " + quote(found.members[i].name) + " are others";
  }
  return "it differs";
}

std::vector<NamedNumber> read_numbers(Database& database, const char* table, int64_t member) {
  std::vector<NamedNumber> out;
  Statement rows = database.prepare("SELECT name, value FROM " + std::string(table) +
                                    " WHERE member = ? ORDER BY place");
  rows.bind(member);
  while (rows.step()) out.push_back({rows.text(0), rows.number(1).value_or(0)});
  return out;
}

// side, row, id, truth, answer
RowAnswer read_answer(const Statement& row) {
  return {row.text(0), row.integer(1), row.text(2), row.text(3), row.text(4)};
}

void write_numbers(Database& database, const char* table, int64_t member,
                   const std::vector<NamedNumber>& numbers) {
  Statement insert = database.prepare("INSERT INTO " + std::string(table) + " VALUES (?, ?, ?, ?)");
  int64_t place = 0;
  for (const NamedNumber& each : numbers)
    insert.bind(member).bind(place++).bind(each.name).bind(each.value).run();
}

double null_as_nan(const std::optional<double>& value) { return value.value_or(std::nan("")); }

void write_result(Database& database, int64_t member, const MemberResult& result) {
  Statement score = database.prepare("INSERT INTO scores VALUES (?, ?, ?, ?, ?)"),
            point = database.prepare("INSERT INTO curve VALUES (?, ?, ?, ?, ?, ?)"),
            answer = database.prepare("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)"),
            record = database.prepare("INSERT INTO records VALUES (?, ?, ?, ?, ?)");
  int64_t place = 0;
  for (const FinalScore& each : result.scores)
    score.bind(member)
        .bind(place++)
        .bind(each.side)
        .bind(each.metric)
        .bind(null_as_nan(each.value))
        .run();
  place = 0;
  for (const CurvePoint& each : result.curve)
    point.bind(member)
        .bind(place++)
        .bind(each.side)
        .bind(each.metric)
        .bind(each.step)
        .bind(null_as_nan(each.value))
        .run();
  for (const RowAnswer& each : result.answers)
    answer.bind(member)
        .bind(each.side)
        .bind(each.row)
        .bind(each.id)
        .bind(each.truth)
        .bind(each.answer)
        .run();
  place = 0;
  for (const RecordedMeans& each : result.records)
    record.bind(member).bind(place++).bind(each.step).bind(each.name).bind(each.values).run();
  write_numbers(database, "facts", member, result.facts);
  write_numbers(database, "readings", member, result.readings);
}

}  // namespace

const std::string* PlannedMember::factor(std::string_view key) const {
  for (const auto& [factor, value] : factors) {
    if (factor == key) return &value;
  }
  return nullptr;
}

std::string StudyPlan::digest() const {
  std::vector<Node> list;
  for (const PlannedMember& member : members) {
    Node factors = Node::list();
    for (const auto& [key, value] : member.factors)
      factors.items.push_back(Node::texts({key, value}));
    list.push_back(
        Node::list({Node::text(member.name), std::move(factors), Node::text(member.settings)}));
  }
  return sha256(to_json(Node::list({Node::text(name), Node::list(std::move(list))}), -1));
}

bool MemberResult::agrees_with(const MemberResult& other) const {
  return scores == other.scores && curve == other.curve && answers == other.answers &&
         records == other.records && facts == other.facts;
}

StudyStore::StudyStore(std::unique_ptr<Database> database) : database_(std::move(database)) {
  check_is_study(*database_);
  plan_ = read_plan(*database_);
}
StudyStore::~StudyStore() = default;
StudyStore::StudyStore(StudyStore&&) noexcept = default;

StudyStore StudyStore::open(const Path& path, const StudyPlan& plan) {
  if (!fs::exists(path)) create(path, plan);
  StudyStore found(std::make_unique<Database>(path, Database::Mode::kOpen));
  if (found.plan_.digest() != plan.digest())
    throw InputError("'" + path.string() +
                     "': holds another study than this one: " + difference_of(found.plan_, plan) +
                     "; it is left as it is: give another file, or the study that it was made for");
  return found;
}

StudyStore StudyStore::in_memory(const StudyPlan& plan) {
  auto database = std::make_unique<Database>(":memory:", Database::Mode::kCreate);
  write_plan(*database, plan);
  return StudyStore(std::move(database));
}

StudyStore StudyStore::read(const Path& path) {
  if (!fs::exists(path)) throw InputError("'" + path.string() + "': no such file");
  return StudyStore(std::make_unique<Database>(path, Database::Mode::kOpen));
}

std::vector<MemberStatus> StudyStore::statuses() const {
  std::vector<MemberStatus> out;
  Statement rows = database_->prepare("SELECT state, reason FROM members ORDER BY member");
  while (rows.step()) out.push_back({value_of(kStates, rows.text(0)), rows.text(1)});
  return out;
}

MemberResult StudyStore::result(size_t member) const {
  const auto rows_of = [&](const char* sql) {
    Statement rows = database_->prepare(sql);
    rows.bind(static_cast<int64_t>(member));
    return rows;
  };
  MemberResult out = summary(member);
  Statement curve =
      rows_of("SELECT side, metric, step, value FROM curve WHERE member = ? ORDER BY place");
  while (curve.step())
    out.curve.push_back({curve.text(0), curve.text(1), curve.integer(2), curve.number(3)});
  Statement answers = rows_of(
      "SELECT side, row, id, truth, answer FROM answers WHERE member = ? ORDER BY side, row");
  while (answers.step()) out.answers.push_back(read_answer(answers));
  Statement records =
      rows_of("SELECT step, name, means FROM records WHERE member = ? ORDER BY place");
  while (records.step())
    out.records.push_back({records.integer(0), records.text(1), records.text(2)});
  return out;
}

MemberResult StudyStore::summary(size_t member) const {
  const auto id = static_cast<int64_t>(member);
  MemberResult out;
  Statement scores =
      database_->prepare("SELECT side, metric, value FROM scores WHERE member = ? ORDER BY place");
  scores.bind(id);
  while (scores.step()) out.scores.push_back({scores.text(0), scores.text(1), scores.number(2)});
  out.facts = read_numbers(*database_, "facts", id);
  out.readings = readings(member);
  return out;
}

std::vector<RowAnswer> StudyStore::answers(size_t member, const std::string& side) const {
  Statement rows = database_->prepare(
      "SELECT side, row, id, truth, answer FROM answers WHERE member = ? AND side = ? ORDER BY "
      "row");
  rows.bind(static_cast<int64_t>(member)).bind(side);
  std::vector<RowAnswer> out;
  while (rows.step()) out.push_back(read_answer(rows));
  return out;
}

std::vector<NamedNumber> StudyStore::readings(size_t member) const {
  return read_numbers(*database_, "readings", static_cast<int64_t>(member));
}

void StudyStore::set_state(size_t member, MemberState state, const std::string& reason) {
  ensure(member < plan_.members.size(), "a member of the study");
  database_->prepare("UPDATE members SET state = ?, reason = ? WHERE member = ?")
      .bind(std::string_view(word_of(kStates, state)))
      .bind(reason)
      .bind(static_cast<int64_t>(member))
      .run();
}

void StudyStore::finish(size_t member, const MemberResult& result) {
  Transaction transaction(*database_);
  const auto id = static_cast<int64_t>(member);
  for (const char* table : kResultTables) {  // of a member that is done anew
    database_->prepare("DELETE FROM " + std::string(table) + " WHERE member = ?").bind(id).run();
  }
  write_result(*database_, id, result);
  set_state(member, MemberState::kDone, "");
  transaction.commit();
}

void StudyStore::fail(size_t member, const std::string& reason) {
  Transaction transaction(*database_);
  set_state(member, MemberState::kFailed, reason);
  transaction.commit();
}

void StudyStore::retry(size_t member) {
  Transaction transaction(*database_);
  set_state(member, MemberState::kWaiting, "");
  transaction.commit();
}

namespace {

// Takes over what `shard` has of each member. Throws InputError where `joined` has another result.
void take_members(const StudyStore& shard, const Path& path, StudyStore& joined) {
  const std::vector<MemberStatus> theirs = shard.statuses(), ours = joined.statuses();
  for (size_t i = 0; i < theirs.size(); ++i) {
    if (theirs[i].state == MemberState::kWaiting) continue;
    const bool is_done = theirs[i].state == MemberState::kDone;
    if (ours[i].state == MemberState::kWaiting) {
      if (is_done) joined.finish(i, shard.result(i));
      else joined.fail(i, theirs[i].reason);
      continue;
    }
    if (theirs[i] == ours[i] && (!is_done || shard.result(i).agrees_with(joined.result(i))))
      continue;
    throw InputError("'" + path.string() + "': the member " + quote(shard.plan().members[i].name) +
                     " is there and in a file before it, and the two differ; leave one out");
  }
}

}  // namespace

void join_studies(const std::vector<Path>& files, const Path& out) {
  if (files.empty()) throw InputError("join: expected the files of a study, found none");
  if (fs::exists(out))
    throw InputError("'" + out.string() + "': is there already; give another file");
  const StudyPlan plan = StudyStore::read(files.front()).plan();
  const Path part = out.parent_path() / ("." + out.filename().string() + ".joined");
  for (const char* end : {"", "-journal"}) fs::remove(part.string() + end);
  try {
    StudyStore joined = StudyStore::open(part, plan);
    for (const Path& file : files) {
      const StudyStore shard = StudyStore::read(file);
      if (shard.plan().digest() != plan.digest())
        throw InputError("'" + file.string() + "': is of another study than '" +
                         files.front().string() + "': " + difference_of(shard.plan(), plan));
      take_members(shard, file, joined);
    }
  } catch (const Error&) {
    fs::remove(part);
    throw;
  }
  if (::link(part.c_str(), out.c_str()) != 0) {
    const int error = errno;
    fs::remove(part);
    throw IoError("cannot make '" + out.string() + "': " + std::strerror(error));
  }
  fs::remove(part);
}

}  // namespace graft
