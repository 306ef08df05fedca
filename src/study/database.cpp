#include "study/database.h"

#include <sqlite3.h>

#include <cmath>

#include "base/error.h"

namespace graft {

namespace {

constexpr int kBusyMs = 10'000;  // how long a reader waits for a writer's transaction

}  // namespace

Statement::Statement(Database& database, std::string_view sql) : database_(&database) {
  sqlite3_stmt* statement = nullptr;
  database.check(sqlite3_prepare_v2(database.handle_.get(), sql.data(),
                                    static_cast<int>(sql.size()), &statement, nullptr));
  statement_ = std::shared_ptr<sqlite3_stmt>(statement, sqlite3_finalize);
}

Statement& Statement::bind(int64_t value) {
  database_->check(sqlite3_bind_int64(statement_.get(), ++bound_, value));
  return *this;
}

Statement& Statement::bind(double value) {
  database_->check(std::isnan(value) ? sqlite3_bind_null(statement_.get(), ++bound_)
                                     : sqlite3_bind_double(statement_.get(), ++bound_, value));
  return *this;
}

Statement& Statement::bind(std::string_view value) {
  database_->check(sqlite3_bind_text64(statement_.get(), ++bound_, value.data(), value.size(),
                                       SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) database_->fail(code);
  sqlite3_reset(statement_.get());
  bound_ = 0;
  return false;
}

void Statement::run() { ensure(!step(), "a statement without rows has given one"); }

int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::optional<double> Statement::number(int column) const {
  if (sqlite3_column_type(statement_.get(), column) == SQLITE_NULL) return std::nullopt;
  return sqlite3_column_double(statement_.get(), column);
}

std::string Statement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (bytes == nullptr) return "";
  return std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column)));
}

Path fresh_beside(const Path& path, const std::string& ending) {
  const Path fresh = path.parent_path() / ("." + path.filename().string() + ending);
  for (const char* file : {"", "-journal"}) std::filesystem::remove(fresh.string() + file);
  return fresh;
}

Database::Database(Path path, Mode mode) : path_(std::move(path)) {
  const int flags = SQLITE_OPEN_READWRITE | (mode == Mode::kCreate ? SQLITE_OPEN_CREATE : 0);
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(path_.c_str(), &handle, flags, nullptr);
  handle_ = std::shared_ptr<sqlite3>(handle, sqlite3_close_v2);
  check(code);
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, kBusyMs);
}

void Database::fail(int code) const {
  const std::string where = "'" + path_.string() + "': ", says = sqlite3_errmsg(handle_.get());
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      throw InputError(where + "is damaged, or no SQLite file (" + says +
                       "); nothing was written to it");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw IoError(where + "another process is at it; wait for it, or stop it first");
    case SQLITE_CANTOPEN:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_NOMEM: throw IoError(where + says);
    default: throw InternalError(where + says);
  }
}

void Database::check(int code) const {
  if (code != SQLITE_OK) fail(code);
}

void Database::execute(const char* sql) {
  check(sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr));
}

int64_t Database::integer(std::string_view sql) {
  Statement statement = prepare(sql);
  ensure(statement.step(), "a statement of one row has given none");
  return statement.integer(0);
}

Transaction::Transaction(Database& database) : database_(database) {
  database_.execute("BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
  if (!is_open_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (const Error&) {
    // SQLite has rolled back by itself, as it does on a full disk.
  }
}

void Transaction::commit() {
  database_.execute("COMMIT");
  is_open_ = false;
}

}  // namespace graft
