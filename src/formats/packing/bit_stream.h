// SPDX-License-Identifier: Apache-2.0
// Codes as fields of little-endian words, first code in the lowest bits. One "line" is a row or a column of the matrix.
//
//   dense:     code i of a line = bits [b*i, b*i + b) of the line's words laid end to end; codes may straddle words
//   by words:  code i = bits [b*(i % p), ...) of word i / p, p = floor(32 / b); top bits of a word may stay unused
// Both are the same for b = 1, 2, 4, 8. Dense covers compressed-tensors (since 0.17) and MLX weights, GPTQ weights and zero points
// of 2, 3, 4, 8 bits (its 3-bit form, 32 codes in 3 words, is the dense stream), AWQ GEMV; by words is compressed-tensors before
// that.
#pragma once

#include "formats/stored_weight.h"

namespace nibble {

enum class StreamAxis : uint8_t {
  kAlongK,  // a line is row n, positions are columns k
  kAlongN,  // a line is column k, positions are rows n
};

// words: integers of 1, 2 or 4 bytes, [lines][words of a line], any strides (transpose the view of a GPTQ tensor [K*b/32, N]). The
// view must hold every word that a read touches. bits 1..8.
CodeSource DenseStream(TensorView words, int bits, StreamAxis axis);
CodeSource WordStream(TensorView words, int bits, StreamAxis axis);  // 4-byte words

// Words of a line of `count` codes.
constexpr int64_t DenseStreamWords(int64_t count, int bits) { return CeilDiv(count * bits, 32); }
constexpr int64_t WordStreamWords(int64_t count, int bits) { return CeilDiv(count, 32 / bits); }

// Encoders of one line: codes [count], word j goes to words[j * word_stride]. Unused bits are zero.
void EncodeDenseStream(const uint8_t* codes, int64_t count, int bits, uint32_t* words, int64_t word_stride);
void EncodeWordStream(const uint8_t* codes, int64_t count, int bits, uint32_t* words, int64_t word_stride);

}  // namespace nibble
