// SPDX-License-Identifier: Apache-2.0
// Split planes ("gptq_p" of GPTQModel): 32 codes of b bits fill b words, and the bits of a code lie in planes of 4, 2 and 1 bits,
// as the binary digits of b say: 3 = 2 + 1, 5 = 4 + 1, 6 = 4 + 2, 7 = 4 + 2 + 1. The plane of the code's lowest bits comes first;
// within a plane of w bits, code i is field i of its words, lowest bits first. 1, 2, 4 and 8 bits are a plain dense stream.
#pragma once

#include "formats/packing/bit_stream.h"

namespace nibble {

// words: 4-byte integers [lines][words of a line], any strides; every line holds whole blocks of 32 codes. bits 1..8.
CodeSource PlanarStream(TensorView words, int bits, StreamAxis axis);

// codes [count], count % 32 == 0; word j goes to words[j * word_stride].
void EncodePlanarStream(const uint8_t* codes, int64_t count, int bits, uint32_t* words, int64_t word_stride);

}  // namespace nibble
