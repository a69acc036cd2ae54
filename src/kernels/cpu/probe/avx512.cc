// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vec_avx512.h"
// vec_*.h first: it defines F32x16 for the loops below.
#include "kernels/cpu/probe/generic.h"

namespace nibble {

const CpuProbe& ProbeAvx512() { return kProbe; }

}  // namespace nibble
