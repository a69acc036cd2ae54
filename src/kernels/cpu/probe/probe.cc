// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/probe/probe.h"

namespace nibble {

const CpuProbe& ProbeFor(Isa isa) {
  if (isa >= Isa::kAvx512Vnni) return ProbeAvx512Vnni();
  if (isa >= Isa::kAvx512) return ProbeAvx512();
  if (isa >= Isa::kAvx2) return ProbeAvx2();
  return ProbeScalar();
}

}  // namespace nibble
