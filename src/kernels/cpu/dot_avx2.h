// SPDX-License-Identifier: Apache-2.0
// See dot_scalar.h. Without a dot-product instruction, products of bytes are summed in 16 bits (additions wrap, so only
// the last sum must fit).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/x_codes.h"

namespace nibble {
namespace {

struct Bytes64 {
  __m256i lo, hi;

  static Bytes64 Load(const void* p) {
    const auto* v = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
  }
  void Store(void* p) const {
    auto* v = static_cast<__m256i*>(p);
    _mm256_storeu_si256(v, lo);
    _mm256_storeu_si256(v + 1, hi);
  }
  template <int from, int to, int width>
  static __m256i FieldOf(__m256i v) {
    if constexpr (from > to) v = _mm256_srli_epi16(v, from - to);
    if constexpr (from < to) v = _mm256_slli_epi16(v, to - from);
    return _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(((1 << width) - 1) << to)));
  }
  template <int from, int to, int width>
  Bytes64 Field() const {
    return {FieldOf<from, to, width>(lo), FieldOf<from, to, width>(hi)};
  }
  Bytes64 operator|(Bytes64 other) const { return {_mm256_or_si256(lo, other.lo), _mm256_or_si256(hi, other.hi)}; }
  Bytes64 Lookup(const uint8_t* table) const {
    const __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return {_mm256_shuffle_epi8(t, lo), _mm256_shuffle_epi8(t, hi)};
  }
};

inline __m256i Broadcast4(const void* x) {
  int32_t word;
  __builtin_memcpy(&word, x, 4);
  return _mm256_set1_epi32(word);
}

// A sum that is finished before the next is begun: left alone, g++ starts the products of all rows first, and the sums of a tile no
// longer fit sixteen registers.
template <typename Dot>
inline Dot Keep(__m256i lo, __m256i hi) {
  asm volatile("" : "+x"(lo), "+x"(hi));
  return {lo, hi};
}

struct Ints16 {
  __m256i lo, hi;
  F32x16 ToF32() const { return {_mm256_cvtepi32_ps(lo), _mm256_cvtepi32_ps(hi)}; }
};

struct Dot8 {
  static constexpr int kPhases = 1;
  using Operand = Bytes64;
  __m256i lo, hi;

  static Dot8 Start(const XHeader& x, int span, int zero) {
    const __m256i start = _mm256_mullo_epi16(Broadcast4(x.pair[span]), _mm256_set1_epi16(static_cast<int16_t>(-zero)));
    return {start, start};
  }
  template <int>
  static Operand Phase(Bytes64 codes) {
    return codes;
  }
  Dot8 Plus(Operand w, const void* x) const {
    const __m256i c = Broadcast4(x);
    return Keep<Dot8>(_mm256_add_epi16(lo, _mm256_maddubs_epi16(w.lo, c)), _mm256_add_epi16(hi, _mm256_maddubs_epi16(w.hi, c)));
  }
  Ints16 Total() const {
    const __m256i ones = _mm256_set1_epi16(1);
    return {_mm256_madd_epi16(lo, ones), _mm256_madd_epi16(hi, ones)};
  }
};

struct Dot16 {
  static constexpr int kPhases = 2;
  struct Operand {
    __m256i lo, hi;
  };
  __m256i lo, hi;

  static Dot16 Start(const XHeader& x, int span, int zero) {
    const __m256i start = _mm256_mullo_epi32(Broadcast4(x.sum + span), _mm256_set1_epi32(-zero));
    return {start, start};
  }
  template <int phase>
  static Operand Phase(Bytes64 codes) {
    if constexpr (phase == 1) return {_mm256_srli_epi16(codes.lo, 8), _mm256_srli_epi16(codes.hi, 8)};
    const __m256i even = _mm256_set1_epi16(0xff);
    return {_mm256_and_si256(codes.lo, even), _mm256_and_si256(codes.hi, even)};
  }
  Dot16 Plus(Operand w, const void* x) const {
    const __m256i c = Broadcast4(x);
    return Keep<Dot16>(_mm256_add_epi32(lo, _mm256_madd_epi16(w.lo, c)), _mm256_add_epi32(hi, _mm256_madd_epi16(w.hi, c)));
  }
  Ints16 Total() const { return {lo, hi}; }
};

}  // namespace
}  // namespace nibble
