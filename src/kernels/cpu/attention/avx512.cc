// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vec_avx512.h"
// vec_*.h first: it defines F32x16 for the kernels below.
#include "kernels/cpu/attention/generic.h"

namespace nibble {

const AttentionKernels& AttentionAvx512() { return kKernels; }

}  // namespace nibble
