// SPDX-License-Identifier: Apache-2.0
// Quanto's weights decode in the dtype of their scales, and both of its roundings are part of the result:
//   qint2, qint4   W = r(r(scale * code) - shift), or r(scale * (code - shift)) where shift is an integer; groups of W's elements
//   qint8, qfloat8 W = r(scale * value), one scale a row
// with r = rounding to that dtype. No other method decodes so, hence a codec of its own.
#pragma once

#include "formats/stored_weight.h"

namespace nibble {

struct QuantoState {
  CodeSource codes;
  DType value_type = DType::kNone;  // kE4M3, kE5M2; kI8: two's complement (code - 128); kU8: codes as they are
  TensorView scale, shift;          // [blocks]; shift empty: none
  int64_t block = 0, k = 0;         // element n * k + j belongs to block (n * k + j) / block
};

// Null for a type it does not know: "qint2", "qint4", "qint8", "qfloat8".
const CustomCodec* FindQuantoCodec(std::string_view type);

}  // namespace nibble
