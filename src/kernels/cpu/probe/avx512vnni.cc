// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vec_avx512.h"
// vec_*.h and dot_*.h first: they define the vectors for the loops below.
#include "kernels/cpu/dot_avx512.h"
//
#include "kernels/cpu/probe/generic.h"

namespace nibble {

const CpuProbe& ProbeAvx512Vnni() { return kProbe; }

}  // namespace nibble
