// SPDX-License-Identifier: Apache-2.0
// Base matrices of Hadamard transforms whose size is no power of two, for methods whose files do not store them.
#pragma once

#include <cstdint>
#include <optional>

#include "formats/stored_weight.h"

namespace nibble {

// A kHadamard of blocks of `block`: Sylvester's for powers of two, else H_q (x) Sylvester's with the largest q of 172, 156, 140,
// 124, 116, 108, 60, 52, 36, 28, 20, 12 that leaves a power of two (QuIP#, QTIP). nullopt: no such q. The matrix lives as long as
// the program.
std::optional<Transform> HadamardOf(int64_t block);

}  // namespace nibble
