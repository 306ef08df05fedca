#include "tests/golden/names.h"

#include <map>

#include "base/error.h"
#include "model/families.h"

namespace graft::testing {

std::string head_name(const std::string& name) {
  static const std::map<std::string, std::string> names = {
      {"classifier.weight", "out.weight"},          {"classifier.bias", "out.bias"},
      {"classifier.out_proj.weight", "out.weight"}, {"classifier.out_proj.bias", "out.bias"},
      {"classifier.dense.weight", "dense.weight"},  {"classifier.dense.bias", "dense.bias"}};
  const auto found = names.find(name);
  return found == names.end() ? "" : found->second;
}

namespace {

std::string canonical_name(const std::string& name, const std::string& model_type) {
  const Family& family = family_of(model_type);
  const std::string bare = name.substr(model_type.size() + 1);  // "bert.", "roberta."
  for (const auto& [ours, theirs] : family.names) {
    const size_t hole = theirs.find('#');
    if (hole == std::string::npos) {
      if (theirs == bare) return to_name(ours);
      continue;
    }
    const std::string tail = theirs.substr(hole + 1);
    if (!bare.starts_with(theirs.substr(0, hole)) || !bare.ends_with(tail)) continue;
    TensorId out = ours;
    out.place.layer =
        static_cast<int16_t>(std::stoi(bare.substr(hole, bare.size() - hole - tail.size())));
    return to_name(out);
  }
  throw InternalError("no canonical name for " + name);
}

}  // namespace

std::string stored_name(const std::string& name, const Node& entry, const std::string& edit,
                        const std::string& model_type) {
  const std::string part = entry.find("part")->scalar, path = "0." + edit + "/";
  if (part == "head") {
    ensure(!head_name(name).empty(), "a head's tensor: " + name);
    return "head/" + head_name(name);
  }
  if (part == "trunk") return path + canonical_name(name, model_type);
  const std::string& role = entry.find("role")->scalar;
  return path + entry.find("site")->scalar + "." + (role == "ia3" ? "scale" : role);
}

}  // namespace graft::testing
