// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/ops/ops.h"

namespace nibble {

const CpuOps& OpsFor(Isa isa) {
  if (isa >= Isa::kAvx512) return OpsAvx512();
  if (isa >= Isa::kAvx2) return OpsAvx2();
  return OpsScalar();
}

}  // namespace nibble
