// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention/attention.h"

namespace nibble {

const AttentionKernels& AttentionFor(Isa isa) {
  if (isa >= Isa::kAvx512) return AttentionAvx512();
  if (isa >= Isa::kAvx2) return AttentionAvx2();
  return AttentionScalar();
}

}  // namespace nibble
