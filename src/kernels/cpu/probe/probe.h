// SPDX-License-Identifier: Apache-2.0
// Loops that do nothing but read memory, or nothing but multiply and add: what the roofline is measured with.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace nibble {

struct CpuProbe {
  float (*read)(const float* data, int64_t floats);  // sums all values: one pass over memory
  // In registers; each gives the multiply-adds that a round does:
  float (*fma)(int64_t rounds);    // of f32
  float (*dot8)(int64_t rounds);   // of 4-bit codes and int8 x, as the integer kernels do them (kernels/cpu/dot_*.h)
  float (*dot16)(int64_t rounds);  // of 8-bit codes and int16 x
  int64_t fma_per_round, dot_per_round;
};

const CpuProbe& ProbeFor(Isa isa);
const CpuProbe& ProbeScalar();
const CpuProbe& ProbeAvx2();
const CpuProbe& ProbeAvx512();
const CpuProbe& ProbeAvx512Vnni();

}  // namespace nibble
