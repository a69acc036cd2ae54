// SPDX-License-Identifier: Apache-2.0
// See dot_scalar.h: AVX-512 BW, with VNNI's dot products where the file that includes it is compiled for them.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/x_codes.h"

namespace nibble {
namespace {

struct Bytes64 {
  __m512i v;

  static Bytes64 Load(const void* p) { return {_mm512_loadu_si512(p)}; }
  void Store(void* p) const { _mm512_storeu_si512(p, v); }
  template <int from, int to, int width>
  Bytes64 Field() const {
    __m512i t = v;
    if constexpr (from > to) t = _mm512_srli_epi16(t, from - to);
    if constexpr (from < to) t = _mm512_slli_epi16(t, to - from);
    return {_mm512_and_si512(t, _mm512_set1_epi8(static_cast<char>(((1 << width) - 1) << to)))};
  }
  Bytes64 operator|(Bytes64 other) const { return {_mm512_or_si512(v, other.v)}; }
  Bytes64 Lookup(const uint8_t* table) const {
    return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), v)};
  }
};

inline __m512i Broadcast4(const void* x) {
  int32_t word;
  __builtin_memcpy(&word, x, 4);
  return _mm512_set1_epi32(word);
}

struct Ints16 {
  __m512i v;
  F32x16 ToF32() const { return {_mm512_cvtepi32_ps(v)}; }
};

struct Dot8 {
  static constexpr int kPhases = 1;
  using Operand = Bytes64;
  __m512i v;

  template <int>
  static Operand Phase(Bytes64 codes) {
    return codes;
  }
#ifdef __AVX512VNNI__
  static Dot8 Start(const XHeader& x, int span, int zero) {
    return {_mm512_mullo_epi32(Broadcast4(x.sum + span), _mm512_set1_epi32(-zero))};
  }
  Dot8 Plus(Operand w, const void* x) const { return {_mm512_dpbusd_epi32(v, w.v, Broadcast4(x))}; }
  Ints16 Total() const { return {v}; }
#else
  static Dot8 Start(const XHeader& x, int span, int zero) {
    return {_mm512_mullo_epi16(Broadcast4(x.pair[span]), _mm512_set1_epi16(static_cast<int16_t>(-zero)))};
  }
  Dot8 Plus(Operand w, const void* x) const { return {_mm512_add_epi16(v, _mm512_maddubs_epi16(w.v, Broadcast4(x)))}; }
  Ints16 Total() const { return {_mm512_madd_epi16(v, _mm512_set1_epi16(1))}; }
#endif
};

struct Dot16 {
  static constexpr int kPhases = 2;
  struct Operand {
    __m512i v;
  };
  __m512i v;

  static Dot16 Start(const XHeader& x, int span, int zero) {
    return {_mm512_mullo_epi32(Broadcast4(x.sum + span), _mm512_set1_epi32(-zero))};
  }
  template <int phase>
  static Operand Phase(Bytes64 codes) {
    if constexpr (phase == 1) return {_mm512_srli_epi16(codes.v, 8)};
    return {_mm512_and_si512(codes.v, _mm512_set1_epi16(0xff))};
  }
  Dot16 Plus(Operand w, const void* x) const {
#ifdef __AVX512VNNI__
    return {_mm512_dpwssd_epi32(v, w.v, Broadcast4(x))};
#else
    return {_mm512_add_epi32(v, _mm512_madd_epi16(w.v, Broadcast4(x)))};
#endif
  }
  Ints16 Total() const { return {v}; }
};

}  // namespace
}  // namespace nibble
