// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vec_scalar.h"
// vec_*.h and dot_*.h first: they define the vectors for the loops below.
#include "kernels/cpu/dot_scalar.h"
//
#include "kernels/cpu/probe/generic.h"

namespace nibble {

const CpuProbe& ProbeScalar() { return kProbe; }

}  // namespace nibble
