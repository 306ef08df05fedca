// STUDY.yaml: any bytes are a study or an InputError, and a study's members have names of their
// own.
#include <set>

#include "base/error.h"
#include "study/plan_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const graft::StudyFile study = graft::parse_study(text, "study.yaml");
    std::set<std::string> folders;
    for (const graft::MemberDraft& member : study.members) {
      graft::ensure(!member.name.empty() && !member.method_place.empty(), "a member is named");
      graft::ensure(folders.insert(member.folder).second, "two members share a folder");
    }
  } catch (const graft::InputError&) {
  }
  return 0;
}
