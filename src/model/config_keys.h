// The keys of config.json that no family reads: with which values a file may have them.
//
// A key of the table that would change what is computed lists the values under which it does not;
// with any other it is refused. A key that says where a file comes from, or what other programs do
// with it, may have any value. A key that is neither read nor in the table is an error with the
// nearest known name, unless its value is null (which says what its absence says) or the user names
// it (--ignore-config-key).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/options.h"
#include "model/config.h"

namespace graft {

struct KeyRule {
  std::vector<std::string> keys;
  std::vector<std::string> values = {};  // as JSON, that may stand there; empty = any
};

// Those of every family. A family's own (model/families.h) count before them.
std::span<const KeyRule> common_key_rules();

// Judges every key of `options` that has not been read; faults go there. Returns the keys that were
// passed over as `ignored` says.
std::vector<std::string> check_unread_keys(Options& options, const std::string& model_type,
                                           const IgnoredKeys& ignored);

// Takes those that `ignored` names out of `unknown` and returns them. Throws InputError where the
// user names others.
std::vector<std::string> take_ignored(std::vector<std::string>& unknown, const IgnoredKeys& ignored,
                                      const std::string& source);

// "to pass it over, give --ignore-config-key KEY".
std::string ignore_hint(const std::string& key);

}  // namespace graft
