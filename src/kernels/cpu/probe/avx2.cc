// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vec_avx2.h"
// vec_*.h first: it defines F32x16 for the loops below.
#include "kernels/cpu/probe/generic.h"

namespace nibble {

const CpuProbe& ProbeAvx2() { return kProbe; }

}  // namespace nibble
