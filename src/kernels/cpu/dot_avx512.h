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
  template <int mask>
  Bytes64 And() const {
    if constexpr (mask == 0xff) return *this;
    return {_mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>(mask)))};
  }
  template <int count>
  Bytes64 Shift() const {
    if constexpr (count == 0) return *this;
    return {_mm512_srli_epi16(v, count)};
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

inline Ints16 operator+(Ints16 a, Ints16 b) { return {_mm512_add_epi32(a.v, b.v)}; }

struct Pairs16 {
  __m512i v;

  static Pairs16 Load(const void* p) { return {_mm512_loadu_si512(p)}; }
  void Store(void* p) const { _mm512_storeu_si512(p, v); }
  static Pairs16 LoadI8(const void* p) { return {_mm512_cvtepi8_epi16(_mm256_loadu_si256(static_cast<const __m256i*>(p)))}; }
  static Pairs16 LoadTwice(const void* p) {
    const __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    return {_mm512_or_si512(v, _mm512_slli_epi32(v, 16))};
  }
  static void LoadNibbles(const void* p, Pairs16* low, Pairs16* high) {
    const __m512i bytes = _mm512_cvtepu8_epi16(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
    *low = {_mm512_and_si512(bytes, _mm512_set1_epi16(15))};
    *high = {_mm512_srli_epi16(bytes, 4)};
  }
  template <int which>
  Pairs16 Twice() const {
    constexpr int first = 0x0100 + which * 0x0202;  // the bytes of one of a pair
    constexpr int twice = first * 0x10001;
    return {_mm512_shuffle_epi8(
        v, _mm512_broadcast_i32x4(_mm_setr_epi32(twice, twice + 0x04040404, twice + 0x08080808, twice + 0x0c0c0c0c)))};
  }
  template <int which>
  Ints16 Only() const {
    if constexpr (which == 1) return {_mm512_srai_epi32(v, 16)};
    return {_mm512_srai_epi32(_mm512_slli_epi32(v, 16), 16)};
  }
  Ints16 Times(const int16_t* pair) const { return {_mm512_madd_epi16(v, Broadcast4(pair))}; }
};

struct Dot8 {
  static constexpr int kPhases = 1;
  static constexpr bool kPanels = true;
#ifdef __AVX512VNNI__
  static constexpr bool kNarrow = false;
#else
  static constexpr bool kNarrow = true;
#endif
  using Operand = Bytes64;
  __m512i v;

  static Dot8 First(Operand w, const void* x) { return Dot8{_mm512_setzero_si512()}.Plus(w, x); }
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
  Ints16 Times(Pairs16 factor) const { return {_mm512_mullo_epi32(v, _mm512_srai_epi32(factor.v, 16))}; }
#else
  static Dot8 Start(const XHeader& x, int span, int zero) {
    return {_mm512_mullo_epi16(Broadcast4(x.pair[span]), _mm512_set1_epi16(static_cast<int16_t>(-zero)))};
  }
  Dot8 Plus(Operand w, const void* x) const { return {_mm512_add_epi16(v, _mm512_maddubs_epi16(w.v, Broadcast4(x)))}; }
  Ints16 Total() const { return {_mm512_madd_epi16(v, _mm512_set1_epi16(1))}; }
  Ints16 Times(Pairs16 factor) const { return {_mm512_madd_epi16(v, factor.v)}; }
#endif
};

struct Dot16 {
  static constexpr int kPhases = 2;
  static constexpr bool kPanels = true;
  static constexpr bool kNarrow = false;
  using Operand = Pairs16;
  __m512i v;

  static Dot16 Start(const XHeader& x, int span, int zero) {
    return {_mm512_mullo_epi32(Broadcast4(x.sum + span), _mm512_set1_epi32(-zero))};
  }
  template <int phase>
  static Operand Phase(Bytes64 codes) {
    if constexpr (phase == 1) return {_mm512_srli_epi16(codes.v, 8)};
    return {_mm512_and_si512(codes.v, _mm512_set1_epi16(0xff))};
  }
  static void LookupWide(Bytes64 codes, const uint8_t* low, const uint8_t* high, Operand* out) {
    const __m512i l = codes.Lookup(low).v, h = codes.Lookup(high).v;
    const __m512 a = _mm512_castsi512_ps(_mm512_unpacklo_epi8(l, h)), b = _mm512_castsi512_ps(_mm512_unpackhi_epi8(l, h));
    out[0].v = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88));
    out[1].v = _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xdd));
  }
  static Dot16 First(Operand w, const void* x) { return Dot16{_mm512_setzero_si512()}.Plus(w, x); }
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
