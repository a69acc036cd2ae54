// SPDX-License-Identifier: Apache-2.0
// The optimizer would spend minutes on loops that only the baseline runs.
#pragma GCC optimize("O1")
#include "kernels/cpu/vec_scalar.h"
// vec_*.h and dot_*.h first: they define the vectors for the kernels below.
#include "kernels/cpu/dot_scalar.h"
//
#include "kernels/cpu/strip64/dots_run.h"

namespace nibble::strip64 {

void RunDots8Scalar(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch) {
  RunDots<1, Dot8>(segment, strips, args, scratch);
}
void RunDots16Scalar(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch) {
  RunDots<1, Dot16>(segment, strips, args, scratch);
}

}  // namespace nibble::strip64
