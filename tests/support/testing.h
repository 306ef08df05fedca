// What many tests need: a folder of their own, and the message of the error that a call must throw.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <string>

namespace graft::testing {

// A new folder, removed with the object. No two tests share one.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "graft-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// The message of the `Error` that `f` throws; a test failure and "" if it throws nothing or another
// type.
template <typename Error>
std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << "an exception of another type: " << e.what();
    return "";
  }
  ADD_FAILURE() << "expected an exception";
  return "";
}

// Fails unless `f` throws `Error` with a message that contains `part`.
template <typename Error>
void expect_message(const std::function<void()>& f, const std::string& part) {
  const std::string message = message_of<Error>(f);
  EXPECT_NE(message.find(part), std::string::npos)
      << "expected: " << part << "\n   found: " << message;
}

}  // namespace graft::testing
