#include "study/store.h"

#include <algorithm>
#include <cmath>
#include <map>

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
  const Path fresh = fresh_beside(path, ".new");
  {
    Database database(fresh, Database::Mode::kCreate);
    write_plan(database, plan);
  }
  name_new_file(fresh, path);
}

std::vector<std::string> tables_of(Database& database) {
  std::vector<std::string> out;
  Statement tables =
      database.prepare("SELECT sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid");
  while (tables.step()) out.push_back(tables.text(0));
  return out;
}

// What every query and every value that is read relies on: columns, their types, the states.
void check_tables(Database& database, const std::string& where) {
  Database fresh(":memory:", Database::Mode::kCreate);
  fresh.execute(kTables);
  const std::vector<std::string> found = tables_of(database);
  for (const std::string& table : tables_of(fresh)) {
    if (std::find(found.begin(), found.end(), table) == found.end())
      throw InputError(where + "is damaged (expected " + quote(table) +
                       " among its tables); nothing was written to it");
  }
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
  check_tables(database, where);
}

StudyPlan read_plan(Database& database) {
  StudyPlan plan;
  const auto damaged = [&](const std::string& what) {
    return InputError("'" + database.path().string() + "': is damaged (" + what + ")");
  };
  Statement study = database.prepare("SELECT name, file FROM study");
  if (!study.step()) throw damaged("its table 'study' is empty");
  plan.name = study.text(0);
  plan.file = study.text(1);
  Statement members =
      database.prepare("SELECT name, settings, member FROM members ORDER BY member");
  while (members.step()) {
    if (members.integer(2) != std::ssize(plan.members))
      throw damaged("member " + std::to_string(plan.members.size()) + " is missing");
    plan.members.push_back({members.text(0), {}, members.text(1)});
  }
  Statement factors =
      database.prepare("SELECT member, name, value FROM factors ORDER BY member, place");
  while (factors.step()) {
    const auto member = static_cast<size_t>(factors.integer(0));
    if (member >= plan.members.size())
      throw damaged("a factor of member " + std::to_string(factors.integer(0)) +
                    ", of which there is none");
    plan.members[member].factors.emplace_back(factors.text(1), factors.text(2));
  }
  return plan;
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

std::optional<double> find_number(const std::vector<NamedNumber>& numbers,
                                  const std::string& name) {
  for (const NamedNumber& each : numbers) {
    if (each.name == name) return each.value;
  }
  return std::nullopt;
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

std::string StudyPlan::difference_from(const StudyPlan& wanted) const {
  if (name != wanted.name) return "it holds the study " + quote(name);
  if (members.size() != wanted.members.size())
    return "its study has " + std::to_string(members.size()) + " members, this one " +
           std::to_string(wanted.members.size());
  for (size_t i = 0; i < members.size(); ++i) {
    if (members[i].name != wanted.members[i].name)
      return "its member " + std::to_string(i + 1) + " is " + quote(members[i].name) + ", and " +
             quote(wanted.members[i].name) + " here";
    if (members[i] != wanted.members[i])
      return "the settings of its member " + quote(members[i].name) + " are others";
  }
  return "it differs";
}

std::optional<std::vector<size_t>> StudyPlan::places_of(const StudyPlan& part) const {
  if (name != part.name) return std::nullopt;
  std::map<std::string_view, size_t> places;  // a member's settings are its run, and no other's
  for (size_t i = 0; i < members.size(); ++i) places.emplace(members[i].settings, i);
  std::vector<size_t> out;
  for (const PlannedMember& member : part.members) {
    const auto found = places.find(member.settings);
    if (found == places.end()) return std::nullopt;
    out.push_back(found->second);
  }
  return out;
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
  {
    StudyStore found(std::make_unique<Database>(path, Database::Mode::kOpen));
    if (found.plan_.digest() == plan.digest()) return found;
    if (!plan.places_of(found.plan_))
      throw InputError("'" + path.string() + "': holds another study than this one: " +
                       found.plan_.difference_from(plan) +
                       "; it is left as it is: give another file, or the study that it was made "
                       "for, which may have more members than it had");
  }
  extend_study(path, plan);
  return StudyStore(std::make_unique<Database>(path, Database::Mode::kOpen));
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

const Path& StudyStore::path() const { return database_->path(); }

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

}  // namespace graft
