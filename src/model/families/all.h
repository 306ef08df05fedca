// The families of models, a file each. A family's entries: one for every kind of blocks that its
// model_type may have.
#pragma once

#include <vector>

#include "model/families.h"

namespace graft {

std::vector<Family> bert_families();
std::vector<Family> bart_families();
std::vector<Family> t5_families();
std::vector<Family> gpt2_families();
std::vector<Family> llama_families();
std::vector<Family> qwen3_families();
std::vector<Family> modernbert_families();

// In the order in which messages list them.
inline constexpr std::vector<Family> (*kFamilies[])() = {
    bert_families,  bart_families,  t5_families,        gpt2_families,
    llama_families, qwen3_families, modernbert_families};

}  // namespace graft
