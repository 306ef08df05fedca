#include "base/options.h"

#include <algorithm>
#include <cmath>

#include "base/aliases.h"
#include "base/error.h"
#include "base/printable.h"

namespace graft {

namespace {

const Node kEmptyMap = Node::map();

std::string shown(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull: return "nothing";
    case Node::Kind::kScalar: return quote(node.scalar);
    case Node::Kind::kList: return "a list";
    case Node::Kind::kMap: return "a section";
  }
  return "";
}

std::string position(const Node& node) {
  return node.line > 0 ? ":" + std::to_string(node.line) + ":" + std::to_string(node.column) : "";
}

std::string pretty(double value) { return Node::number(value).scalar; }

}  // namespace

Options::Options(const Node& node, std::string source, std::string path)
    : node_(&node),
      source_(std::move(source)),
      path_(std::move(path)),
      faults_(std::make_shared<std::vector<std::string>>()) {
  if (node.kind == Node::Kind::kNull) node_ = &kEmptyMap;
  if (node_->kind != Node::Kind::kMap) {
    fault("", "expected a section of keys and values, found " + shown(node));
    node_ = &kEmptyMap;
  }
}

const Node* Options::take(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
  return node_->find(key);
}

void Options::fault(std::string_view key, const std::string& message) {
  faulty_.emplace_back(key);
  const Node* found = key.empty() ? node_ : node_->find(key);
  const std::string pointer = printable(key.empty() ? path_ : path_ + "/" + std::string(key), 200);
  faults_->push_back(source_ + (found != nullptr ? position(*found) : "") + ": " +
                     (pointer.empty() ? "" : pointer + ": ") + message);
}

void Options::expected(std::string_view key, const std::string& what, const Node& found) {
  fault(key, "expected " + what + ", found " + shown(found));
}

bool Options::has(std::string_view key) { return take(key) != nullptr; }

bool Options::is_given(std::string_view key) {
  const Node* node = raw(key);
  return node != nullptr && node->kind != Node::Kind::kNull;
}

void Options::ignore(std::string_view key) { take(key); }

void Options::ignore_rest() {
  for (const std::string& key : unread()) ignore(key);
}

bool Options::is_faulty(std::string_view key) const {
  return std::find(faulty_.begin(), faulty_.end(), key) != faulty_.end();
}

const Node* Options::raw(std::string_view key) { return take(key); }

int64_t Options::integer(std::string_view key, std::optional<int64_t> fallback, int64_t least,
                         int64_t most) {
  const std::string what = "an integer in " + std::to_string(least) + ".." + std::to_string(most);
  const Node* found = take(key);
  if (found == nullptr) {
    if (!fallback) fault(key, "missing; expected " + what);
    return fallback.value_or(least);
  }
  const std::optional<int64_t> value = found->as_integer();
  if (!value || *value < least || *value > most) {
    expected(key, what, *found);
    return fallback.value_or(least);
  }
  return *value;
}

double Options::number(std::string_view key, std::optional<double> fallback, double least,
                       double most) {
  const std::string what = "a number in " + pretty(least) + ".." + pretty(most);
  const Node* found = take(key);
  if (found == nullptr) {
    if (!fallback) fault(key, "missing; expected " + what);
    return fallback.value_or(least);
  }
  const std::optional<double> value = found->as_number();
  if (!value || !std::isfinite(*value) || *value < least || *value > most) {
    expected(key, what, *found);
    return fallback.value_or(least);
  }
  return *value;
}

bool Options::boolean(std::string_view key, std::optional<bool> fallback) {
  const Node* found = take(key);
  if (found == nullptr) {
    if (!fallback) fault(key, "missing; expected true or false");
    return fallback.value_or(false);
  }
  if (const std::optional<bool> value = found->as_bool()) return *value;
  expected(key, "true or false", *found);
  return fallback.value_or(false);
}

std::string Options::text(std::string_view key, std::optional<std::string> fallback) {
  const Node* found = take(key);
  if (found == nullptr) {
    if (!fallback) fault(key, "missing; expected a text");
    return fallback.value_or("");
  }
  if (found->kind != Node::Kind::kScalar) {
    expected(key, "a text", *found);
    return fallback.value_or("");
  }
  return found->scalar;
}

std::string Options::choice(std::string_view key, std::optional<std::string> fallback,
                            const std::vector<std::string>& choices) {
  const Node* found = take(key);
  const std::string what = joined(choices, "or");
  if (found == nullptr) {
    if (!fallback) fault(key, "missing; expected " + what);
    return fallback.value_or(choices.front());
  }
  if (found->kind != Node::Kind::kScalar ||
      std::find(choices.begin(), choices.end(), found->scalar) == choices.end()) {
    fault(key,
          "expected " + what + ", found " + shown(*found) + did_you_mean(found->scalar, choices));
    return fallback.value_or(choices.front());
  }
  return found->scalar;
}

std::vector<std::string> Options::texts(std::string_view key,
                                        std::optional<std::vector<std::string>> fallback) {
  const Node* found = take(key);
  if (found == nullptr) {
    if (!fallback) fault(key, "missing; expected a text or a list of texts");
    return fallback.value_or(std::vector<std::string>{});
  }
  if (found->kind == Node::Kind::kScalar) return {found->scalar};
  std::vector<std::string> out;
  for (const Node& item : found->items) {
    if (item.kind != Node::Kind::kScalar) {
      expected(key, "a list of texts", *found);
      return {};
    }
    out.push_back(item.scalar);
  }
  if (found->kind != Node::Kind::kList) expected(key, "a text or a list of texts", *found);
  return out;
}

std::vector<int64_t> Options::integers(std::string_view key,
                                       std::optional<std::vector<int64_t>> fallback, int64_t least,
                                       int64_t most) {
  const std::string what =
      "a list of integers in " + std::to_string(least) + ".." + std::to_string(most);
  const Node* found = take(key);
  if (found == nullptr) {
    if (!fallback) fault(key, "missing; expected " + what);
    return fallback.value_or(std::vector<int64_t>{});
  }
  std::vector<int64_t> out;
  const std::vector<Node> single(1, *found);
  for (const Node& item : found->kind == Node::Kind::kScalar ? single : found->items) {
    const std::optional<int64_t> value = item.as_integer();
    if (!value || *value < least || *value > most) {
      expected(key, what, item);
      return {};
    }
    out.push_back(*value);
  }
  if (found->kind != Node::Kind::kList && found->kind != Node::Kind::kScalar)
    expected(key, what, *found);
  return out;
}

Options& Options::section(std::string_view key) {
  const std::string path = path_ + "/" + std::string(key);
  for (const auto& section : sections_) {
    if (section->path_ == path) return *section;
  }
  const Node* found = take(key);
  auto child = std::make_unique<Options>(kEmptyMap, source_, path);
  child->faults_ = faults_;
  if (found != nullptr && found->kind == Node::Kind::kMap) child->node_ = found;
  else if (found != nullptr && found->kind != Node::Kind::kNull)
    expected(key, "a section of keys and values", *found);
  return *sections_.emplace_back(std::move(child));
}

std::vector<std::string> Options::unread() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : node_->members) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) keys.push_back(key);
  }
  return keys;
}

void Options::collect_unknown() {
  for (const std::string& key : unread()) {
    fault(key, "unknown key" + did_you_mean_setting(key, known_) +
                   "; known here: " + (known_.empty() ? "none" : joined(known_)));
  }
  for (const auto& section : sections_) section->collect_unknown();
  sections_.clear();
}

void Options::finish() {
  collect_unknown();
  if (faults_->empty()) return;
  std::string message;
  for (const std::string& fault : *faults_) message += (message.empty() ? "" : "\n") + fault;
  faults_->clear();
  throw InputError(message);
}

}  // namespace graft
