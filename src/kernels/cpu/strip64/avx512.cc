// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vec_avx512.h"
// vec_*.h first: it defines F32x16 for the kernels below.
#include "kernels/cpu/strip64/generic.h"

namespace nibble::strip64 {

void RunAvx512(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch) {
  RunStrips(segment, strips, args, scratch);
}

}  // namespace nibble::strip64
