// SPDX-License-Identifier: Apache-2.0
// XCodes: rows of x as integers, in the order in which the integer kernels read them.
//
// 32 columns of one row are a record:   XHeader | 32 codes,   x[j] = scale * code[j]
//   kI8: one byte a code.   kI16: two bytes a code, and of each four columns the order is 0 2 1 3, so that the even and the odd
//   bytes of a lane of weights meet their own pairs.
// Columns past k are codes 0. Records of the m rows lie side by side, column by column: record(step, row) is at
// (step * m + row) * XRecordBytes, so rows never fall on the same sets of the cache whatever k is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "formats/activation.h"
#include "kernels/linear.h"

namespace nibble {

inline constexpr int64_t kXStep = 32;
inline constexpr int64_t kXMinK = 64;  // shorter rows are not worth records

// Sums of codes, over all 32 columns, the first 16 and the last 16: what a zero point is multiplied by.
struct XHeader {
  float scale;
  int32_t sum[3];
  int16_t pair[3][2];  // kI8: of columns 4 i, 4 i + 1 and of 4 i + 2, 4 i + 3: the two halves of a lane
  int16_t half[2];     // kI8: sum[1] and sum[2]
};
inline constexpr int64_t kXHeaderBytes = sizeof(XHeader);

constexpr int64_t XRecordBytes(XForm form) { return kXHeaderBytes + kXStep * (form == XForm::kI16 ? 2 : 1); }

// What ActivationPolicy lets be done to x for this weight; grain kNone: nothing.
ActivationSpec PolicyActivations(ActivationPolicy policy, const StoredWeight& weight);

// Writes row `row` of `m` to the block `out`. act: integers of 8 or 16 bits (linear.cc: AreIntegers). scratch is resized.
void WriteXCodes(XForm form, const ActivationSpec& act, const float* x, int64_t k, int64_t row, int64_t m, std::byte* out,
                 std::vector<std::byte>* scratch);

}  // namespace nibble
