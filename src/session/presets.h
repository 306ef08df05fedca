// Presets: adapters that come ready, by name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/document.h"
#include "session/share.h"

namespace graft {

// A preset (presets/NAME.yaml) or a YAML file of one's own: {about, edits, head, train, published}.
// `published` holds those of the settings that the method's paper has otherwise, with `edits` or
// `head` where it has other ones; NAME:published puts them over `train`, and over those.
struct AdapterPreset {
  Node definition;  // {edits, head}
  Node train;       // defaults for the run; may be null
  Node published;   // may be null
  std::string about;
  std::string source;
};

// Throws InputError, with a near miss and the list of presets.
AdapterPreset load_preset(const std::string& name_or_path, const Share& share);

// The text of such a file. Throws InputError listing every fault.
AdapterPreset parse_preset(std::string_view text, const std::string& source);

// Sorted.
std::vector<std::string> preset_names(const Share& share);

}  // namespace graft
