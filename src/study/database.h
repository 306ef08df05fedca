// Internal to src/study.
//
// An SQLite file: statements that are bound, stepped and read, and transactions that are whole or
// not there. SQLite's own faults become InputError (a damaged file) and IoError (a full disk, a
// file that another process holds).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/files.h"

struct sqlite3;
struct sqlite3_stmt;

namespace graft {

class Database;

// Values are bound from left to right; columns are read by index from 0. Must not outlive its
// Database.
class Statement {
 public:
  Statement& bind(int64_t value);
  Statement& bind(double value);  // NaN is NULL
  Statement& bind(std::string_view value);
  bool step();  // whether there is a row
  void run();   // to its end, for statements that give no rows; can be bound anew
  int64_t integer(int column) const;
  std::optional<double> number(int column) const;
  std::string text(int column) const;

 private:
  friend class Database;
  Statement(Database& database, std::string_view sql);

  Database* database_;
  std::shared_ptr<sqlite3_stmt> statement_;
  int bound_ = 0;
};

// A name beside `path` for a file that is filled before it takes that name: ".study.db" + `ending`.
// What a killed process left of one goes.
Path fresh_beside(const Path& path, const std::string& ending);

class Database {
 public:
  enum class Mode { kCreate, kOpen };  // what a killed process left half is undone by either

  // kCreate: `path` must not exist. Throws InputError, IoError.
  Database(Path path, Mode mode);
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Statement prepare(std::string_view sql) { return {*this, sql}; }
  void execute(const char* sql);
  int64_t integer(std::string_view sql);  // the first column of the only row
  const Path& path() const { return path_; }

 private:
  friend class Statement;
  [[noreturn]] void fail(int code) const;
  void check(int code) const;

  Path path_;
  std::shared_ptr<sqlite3> handle_;
};

// Everything until commit() counts together, or not at all.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool is_open_ = true;
};

}  // namespace graft
