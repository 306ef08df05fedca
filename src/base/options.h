// Strict reading of a map of options. Every fault (wrong type, out of range, unknown key) is
// collected and thrown at once.
//
//   Options options(node, "run.yaml");
//   const int64_t rank = options.integer("rank", 8, 1, 4096);
//   options.finish();  // throws InputError listing all faults; unknown keys get a "did you mean"
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/document.h"
#include "base/names.h"

namespace graft {

class Options {
 public:
  // `node` must outlive the object; null counts as an empty map. `path` is the JSON pointer of
  // `node` in `source`.
  Options(const Node& node, std::string source, std::string path = "");

  bool has(std::string_view key);
  bool is_given(std::string_view key);  // there, and not null
  // Each returns `fallback` when the key is absent; without one (std::nullopt) absence is a
  // fault and the result is a neutral value.
  int64_t integer(std::string_view key, std::optional<int64_t> fallback, int64_t least,
                  int64_t most);
  double number(std::string_view key, std::optional<double> fallback, double least, double most);
  bool boolean(std::string_view key, std::optional<bool> fallback);
  std::string text(std::string_view key, std::optional<std::string> fallback);
  std::string choice(std::string_view key, std::optional<std::string> fallback,
                     const std::vector<std::string>& choices);
  template <class E, size_t N>
  E choice(std::string_view key, const std::type_identity_t<E>& fallback,
           const Name<E> (&names)[N]) {
    return value_of(names, choice(key, std::string(word_of(names, fallback)), words_of(names)));
  }
  std::vector<std::string> texts(
      std::string_view key,
      std::optional<std::vector<std::string>> fallback);  // a scalar or a list
  std::vector<int64_t> integers(std::string_view key, std::optional<std::vector<int64_t>> fallback,
                                int64_t least, int64_t most);
  // A map below, owned by this object, the same one every time; its faults join this object's.
  Options& section(std::string_view key);
  const Node* raw(std::string_view key);  // the node itself, marked as read; null when absent
  void ignore(std::string_view key);      // known and harmless
  void ignore_rest();                     // so is all that nothing has asked for yet
  std::vector<std::string> unread()
      const;  // keys of the map, in its order, that nothing above has asked for
  const std::vector<std::string>& known() const { return known_; }  // keys asked for

  void fault(
      std::string_view key,
      const std::string& message);  // a finding of the caller's, at `key` ("" = the map itself)
  // Whether there is one at `key`: what its value decides is not judged then.
  bool is_faulty(std::string_view key) const;
  void finish();  // also finishes every section taken from this object

  const std::string& source() const { return source_; }

 private:
  const Node* take(std::string_view key);
  void expected(std::string_view key, const std::string& what, const Node& found);
  void collect_unknown();

  const Node* node_;
  std::string source_, path_;
  std::vector<std::string> known_, faulty_;
  std::shared_ptr<std::vector<std::string>> faults_;
  std::vector<std::unique_ptr<Options>> sections_;
};

}  // namespace graft
