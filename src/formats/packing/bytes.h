// SPDX-License-Identifier: Apache-2.0
// One code a byte: FP8 bytes as they are, signed integers shifted to unsigned codes.
//   code(n, k) = (byte[n][k] + offset) mod 2^bits       offset 128 for int8, 8 for int4 values kept in int8, 0 for bytes
#pragma once

#include "formats/stored_weight.h"

namespace nibble {

// bytes: any one-byte dtype, [n, k], any strides.
CodeSource ByteCodes(TensorView bytes, int bits, int offset);

// codes [n][k] -> bytes [n][k] two's complement of code - offset.
void EncodeByteCodes(const uint8_t* codes, int64_t count, int offset, std::byte* bytes);

}  // namespace nibble
