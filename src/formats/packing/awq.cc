// SPDX-License-Identifier: Apache-2.0
#include "formats/packing/awq.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace nibble {
namespace {

constexpr int kShiftOfColumn[8] = {0, 16, 4, 20, 8, 24, 12, 28};  // nibble 0,4,1,5,2,6,3,7

void ReadGemm(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const TensorView& words = source.t[0];
  const int64_t width = k.size(), first = n.begin + source.n0, end = n.end + source.n0;
  for (int64_t block = first / 8; block * 8 < end; ++block) {  // one word a row of k: eight rows of out
    const int64_t begin = std::max(first, block * 8), stop = std::min(end, block * 8 + 8);
    for (int64_t i = 0; i < width; ++i) {
      uint32_t word;
      std::memcpy(&word, words.data + ((k.begin + source.k0 + i) * words.stride[0] + block * words.stride[1]) * 4, 4);
      for (int64_t row = begin; row < stop; ++row) {
        out[(row - first) * width + i] = static_cast<uint8_t>(word >> kShiftOfColumn[row & 7] & 15);
      }
    }
  }
}

void ReadRows(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const TensorView& words = source.t[0];
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row) {
    for (int64_t col = k.begin + source.k0; col < k.end + source.k0; ++col) {
      uint32_t word;
      std::memcpy(&word, words.data + (row * words.stride[0] + col / 8 * words.stride[1]) * 4, 4);
      *out++ = static_cast<uint8_t>(word >> kShiftOfColumn[col & 7] & 15);
    }
  }
}

int64_t FastWord(int64_t n, int64_t k) { return k / 64 * 64 + n % 4 * 16 + k % 64 / 32 * 8 + k % 8; }

void ReadGemvFast(const CodeSource& source, Range n, Range k, uint8_t* out) {
  const TensorView& words = source.t[0];
  for (int64_t row = n.begin + source.n0; row < n.end + source.n0; ++row) {
    const std::byte* line = words.data + row / 4 * words.stride[0] * 2;
    for (int64_t col = k.begin + source.k0; col < k.end + source.k0; ++col) {
      uint16_t word;
      std::memcpy(&word, line + FastWord(row, col) * 2, 2);
      *out++ = static_cast<uint8_t>(word >> (col % 32 / 8 * 4) & 15);
    }
  }
}

}  // namespace

CodeSource AwqGemm(TensorView words) {
  NIBBLE_CHECK(words.rank() == 2 && DTypeBytes(words.dtype) == 4, "words {}", words.shape.ToString());
  return {.read = ReadGemm, .t = {words, {}}, .bits = 4};
}

CodeSource AwqRows(TensorView words) {
  NIBBLE_CHECK(words.rank() == 2 && DTypeBytes(words.dtype) == 4, "words {}", words.shape.ToString());
  return {.read = ReadRows, .t = {words, {}}, .bits = 4};
}

CodeSource AwqGemvFast(TensorView words) {
  NIBBLE_CHECK(words.rank() == 2 && DTypeBytes(words.dtype) == 2 && words.stride[1] == 1, "words {}", words.shape.ToString());
  return {.read = ReadGemvFast, .t = {words, {}}, .bits = 4};
}

void EncodeAwqGemm(const uint8_t* codes, int64_t n, int64_t k, uint32_t* words) {
  std::fill_n(words, k * (n / 8), 0u);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t col = 0; col < k; ++col) {
      words[col * (n / 8) + row / 8] |= (codes[row * k + col] & 15u) << kShiftOfColumn[row & 7];
    }
  }
}

void EncodeAwqGemvFast(const uint8_t* codes, int64_t n, int64_t k, uint16_t* words) {
  std::fill_n(words, n / 4 * k, uint16_t{0});
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t col = 0; col < k; ++col) {
      uint16_t& word = words[row / 4 * k + FastWord(row, col)];
      word = static_cast<uint16_t>(word | (codes[row * k + col] & 15) << (col % 32 / 8 * 4));
    }
  }
}

}  // namespace nibble
