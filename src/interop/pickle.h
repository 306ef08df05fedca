// Reads what torch.save wrote of a state dict, without running any of it.
//
// The file is a zip archive of one pickle and the bytes of each storage. A pickle is a program;
// this reader knows the instructions that dictionaries, lists, tuples, texts, numbers and dense
// tensors need, and the handful of names that torch.save uses for them. Every other instruction,
// and every other class or function that the file names, is an error: nothing is ever imported or
// called.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/files.h"
#include "tensor/named_tensors.h"

namespace graft {

// The dictionary of texts to tensors in a file that torch 1.6 or newer wrote. Tensors may be views
// of one storage and need not be contiguous; none has more elements than its storage. Throws
// InputError "path: ..." for whatever is wrong in the file, IoError if the system refuses.
NamedTensors load_torch_file(const Path& path);

// The same of a file's bytes. `source` opens the messages.
NamedTensors parse_torch_file(std::span<const std::byte> bytes, const std::string& source);

}  // namespace graft
