// graft inspect tokens: what the tokenizer of a model makes of each line of a file.
#pragma once

#include "base/files.h"
#include "text/tokenizer.h"

namespace graft {

// Writes to standard output. As JSON: one line {"ids": [...], "offsets": [...]} per line
// of `file`, offsets in code points; else, for people, a block per line: the line, then one token a
// row with its id and offsets. Lines are separated by \n; a trailing \r stays. Throws InputError
// "file:line: byte N: ..." for a line that is not UTF-8. Returns the exit code.
int inspect_tokens(const Tokenizer& tokenizer, const Path& file, bool json);

}  // namespace graft
