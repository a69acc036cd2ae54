// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vec_avx512.h"
// vec_*.h first: it defines F32x16 for the operations below.
#include "kernels/cpu/ops/generic.h"

namespace nibble {

const CpuOps& OpsAvx512() { return kOps; }

}  // namespace nibble
