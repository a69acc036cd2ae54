// SPDX-License-Identifier: Apache-2.0
// Loops that do nothing but read memory, or nothing but multiply and add: what the roofline is measured with.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace nibble {

struct CpuProbe {
  float (*read)(const float* data, int64_t floats);  // sums all values: one pass over memory
  float (*fma)(int64_t rounds);                      // rounds * kFmaPerRound fused multiply-adds of one lane each, in registers
};
inline constexpr int64_t kFmaPerRound = 12 * 16;

const CpuProbe& ProbeFor(Isa isa);
const CpuProbe& ProbeScalar();
const CpuProbe& ProbeAvx2();
const CpuProbe& ProbeAvx512();

}  // namespace nibble
