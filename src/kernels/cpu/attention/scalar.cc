// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vec_scalar.h"
// vec_*.h first: it defines F32x16 for the kernels below.
#include "kernels/cpu/attention/generic.h"

namespace nibble {

const AttentionKernels& AttentionScalar() { return kKernels; }

}  // namespace nibble
