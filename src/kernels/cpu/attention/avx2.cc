// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vec_avx2.h"
// vec_*.h first: it defines F32x16 for the kernels below.
#include "kernels/cpu/attention/generic.h"

namespace nibble {

const AttentionKernels& AttentionAvx2() { return kKernels; }

}  // namespace nibble
