// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/vec_avx512.h"
// vec_*.h and dot_*.h first: they define the vectors for the kernels below.
#include "kernels/cpu/dot_avx512.h"
//
#include "kernels/cpu/strip64/dots_run.h"

namespace nibble::strip64 {

void RunDots8Avx512(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch) {
  RunDots<4, Dot8>(segment, strips, args, scratch);
}
void RunDots16Avx512(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch) {
  RunDots<4, Dot16>(segment, strips, args, scratch);
}

}  // namespace nibble::strip64
