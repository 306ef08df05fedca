// The draws of NumPy's default generator, so that subsets that were published as "shuffled by seed
// s" are the same rows here.
#pragma once

#include <cstdint>
#include <vector>

namespace graft {

// numpy.random.default_rng(seed).permutation(count): PCG64 (O'Neill 2014, "PCG: a family of simple
// fast space-efficient statistically good algorithms") seeded by SeedSequence, Fisher-Yates from
// the end, bounded draws by masked rejection of 32 bits. Hugging Face's `datasets` shuffles rows
// so. Requires: 0 <= count < 2^32.
std::vector<int64_t> numpy_permutation(int64_t count, uint64_t seed);

}  // namespace graft
