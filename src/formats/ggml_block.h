// SPDX-License-Identifier: Apache-2.0
// What the ggml format folders share: unaligned reads from a block, the rounding of the reference encoders, and the decoder that
// evaluates a BlockSplit. A block type is its split: decoding has no second definition.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "formats/format.h"
#include "tensors/scalar.h"

namespace nibble {

inline unsigned Byte(const std::byte* p, int i) { return std::to_integer<unsigned>(p[i]); }
inline uint16_t U16At(const std::byte* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline uint32_t U32At(const std::byte* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline float F16At(const std::byte* p) { return F16ToF32(U16At(p)); }
inline float F32At(const std::byte* p) { return std::bit_cast<float>(U32At(p)); }
inline void PutU16(std::byte* p, uint16_t v) { std::memcpy(p, &v, sizeof v); }
inline void PutU32(std::byte* p, uint32_t v) { std::memcpy(p, &v, sizeof v); }

// Largest block and largest number of sub-blocks of any split.
inline constexpr int kMaxBlockElems = 256, kMaxBlockSubs = 16;

// The formula of BlockSplit in f32, left to right. This is the reference's order, so results equal it bit for bit.
template <const BlockSplit& kSplit, int kElems>
void DecodeBlock(const std::byte* block, float* out) {
  static_assert(kElems <= kMaxBlockElems && kElems % kSplit.sub_elems == 0 && kElems / kSplit.sub_elems <= kMaxBlockSubs);
  uint8_t codes[kElems], sub_min[kMaxBlockSubs];
  int8_t sub[kMaxBlockSubs];
  uint16_t d_bits = 0, dmin_bits = 0;
  kSplit.split(block, codes, &d_bits, &dmin_bits, sub, sub_min);
  const float d = F16ToF32(d_bits);
  const float dmin = kSplit.has_min ? F16ToF32(dmin_bits) : 0;
  for (int s = 0; s < kElems / kSplit.sub_elems; ++s) {
    const float scale = kSplit.has_sub ? d * static_cast<float>(sub[s]) : d;
    const float min = kSplit.has_sub_min ? dmin * static_cast<float>(sub_min[s]) : dmin;
    for (int i = s * kSplit.sub_elems; i < (s + 1) * kSplit.sub_elems; ++i) {
      // Not constexpr: under UBSan g++ 12 takes the address of an array in another file for no constant.
      if (const int8_t* table = kSplit.table) {
        out[i] = scale * (kSplit.unit * static_cast<float>(table[codes[i]]));
      } else if (kSplit.has_min) {
        out[i] = scale * static_cast<float>(codes[i]) - min;
      } else {
        out[i] = scale * static_cast<float>(codes[i] - kSplit.zero);
      }
    }
  }
}

// The same for types that give f32 scales.
template <const BlockSplit& kSplit, int kElems>
void DecodeScaledBlock(const std::byte* row, const std::byte* block, float* out) {
  static_assert(kElems <= kMaxBlockElems && kElems % kSplit.sub_elems == 0 && kElems / kSplit.sub_elems <= kMaxBlockSubs);
  uint8_t codes[kElems];
  float scale[kMaxBlockSubs];
  kSplit.split_scales(row, block, codes, scale);
  for (int i = 0; i < kElems; ++i) {
    if (const int8_t* table = kSplit.table) {
      out[i] = scale[i / kSplit.sub_elems] * (kSplit.unit * static_cast<float>(table[codes[i]]));
    } else {
      out[i] = scale[i / kSplit.sub_elems] * static_cast<float>(codes[i] - kSplit.zero);
    }
  }
}

// Format::decode. kMeta: bytes of the row's head.
template <const BlockSplit& kSplit, int kElems, int kBytes, int kMeta = 0>
void DecodeBlocks(const std::byte* row, int64_t first, int64_t count, float* out) {
  for (int64_t b = 0; b < count; ++b) {
    const std::byte* block = row + kMeta + (first + b) * kBytes;
    if constexpr (kSplit.split != nullptr) {
      DecodeBlock<kSplit, kElems>(block, out + b * kElems);
    } else {
      DecodeScaledBlock<kSplit, kElems>(row, block, out + b * kElems);
    }
  }
}

// Format::encode from a function that encodes one block.
template <void (*kEncode)(const float*, std::byte*), int kElems, int kBytes>
void EncodeBlocks(const float* in, int64_t k, std::byte* row) {
  for (int64_t b = 0; b < k / kElems; ++b) kEncode(in + b * kElems, row + b * kBytes);
}

// Round half to even by the addition of 1.5 * 2^23, for |x| < 2^22; other inputs (and NaN) give some int in [-2^22, 2^22), which
// callers clamp. Part of the reference encoders' definition: std::nearbyint would differ there.
inline int NearestInt(float x) { return static_cast<int>(std::bit_cast<uint32_t>(x + 12582912.0f) & 0x007fffffu) - 0x00400000; }

// The element of largest magnitude with its sign, the first of equals.
inline float SignedAbsMax(const float* x, int n) {
  float amax = 0, max = 0;
  for (int i = 0; i < n; ++i) {
    if (std::fabs(x[i]) > amax) {
      amax = std::fabs(x[i]);
      max = x[i];
    }
  }
  return max;
}

// Two-bit fields of the 256-element types: element 128 h + 32 s + l is in byte 32 h + l, bits 2 s.
inline void UnpackPlane2(const std::byte* qs, uint8_t* codes) {
  for (int h = 0; h < 2; ++h)
    for (int s = 0; s < 4; ++s)
      for (int l = 0; l < 32; ++l) codes[128 * h + 32 * s + l] = static_cast<uint8_t>((Byte(qs, 32 * h + l) >> (2 * s)) & 3u);
}

// The levels of iq4_nl and of the scales of some other types.
inline constexpr int8_t kNonLinearLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Nibble order of the 32-element types: byte j holds element j (low) and element j + 16 (high).
inline void UnpackNibbles32(const std::byte* bytes, uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = static_cast<uint8_t>(Byte(bytes, j) & 15u);
    codes[j + 16] = static_cast<uint8_t>(Byte(bytes, j) >> 4);
  }
}
inline void PackNibbles32(const uint8_t* codes, std::byte* bytes) {
  for (int j = 0; j < 16; ++j) bytes[j] = static_cast<std::byte>((codes[j] & 15u) | ((codes[j + 16] & 15u) << 4));
}

}  // namespace nibble
