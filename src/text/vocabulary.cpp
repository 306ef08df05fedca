#include "text/vocabulary.h"

#include <algorithm>

#include "base/error.h"

namespace graft {

Vocabulary Vocabulary::read(const FieldMap& map, std::string_view key) {
  const Node& node = map.raw(key);
  if (node.kind != Node::Kind::kMap)
    map.fail(key, "expected an object of tokens and ids, found " + shown(node));
  if (node.members.empty() || static_cast<int64_t>(node.members.size()) > kMaxTokens) {
    map.fail(key, "expected 1.." + std::to_string(kMaxTokens) + " tokens, found " +
                      std::to_string(node.members.size()));
  }
  // Gaps are allowed, but the table by id stays in proportion to the file.
  const int64_t bound = std::min(kMaxId, static_cast<int64_t>(node.members.size()) * 16 + 65536);
  Vocabulary out;
  out.ids_.reserve(node.members.size());
  for (const auto& [token, value] : node.members) {
    if (token.size() > kMaxTokenBytes)
      map.fail(key, "token " + quote(token) + " is longer than " + std::to_string(kMaxTokenBytes) +
                        " bytes");
    const int64_t id = value.as_integer().value_or(-1);
    if (id < 0 || id >= bound) {
      map.fail(key, "token " + quote(token) + ": expected an id in 0.." +
                        std::to_string(bound - 1) + ", found " + shown(value));
    }
    if (const std::string* taken = out.token_of(id)) {
      map.fail(key, "tokens " + quote(*taken) + " and " + quote(token) + " have the same id " +
                        std::to_string(id));
    }
    out.add(token, id);
  }
  return out;
}

void Vocabulary::add(std::string token, int64_t id) {
  ensure(id >= 0 && id < kMaxId && token_of(id) == nullptr,
         "Vocabulary::add: the id is taken or out of range");
  const auto [place, is_new] = ids_.emplace(std::move(token), static_cast<int32_t>(id));
  ensure(is_new, "Vocabulary::add: the token is there already");
  if (static_cast<size_t>(id) >= tokens_.size())
    tokens_.resize(static_cast<size_t>(id) + 1, nullptr);
  tokens_[static_cast<size_t>(id)] = &place->first;
}

std::optional<int64_t> Vocabulary::id_of(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::token_of(int64_t id) const {
  return id >= 0 && id < id_bound() ? tokens_[static_cast<size_t>(id)] : nullptr;
}

}  // namespace graft
