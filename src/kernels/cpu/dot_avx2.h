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
  template <int mask>
  Bytes64 And() const {
    if constexpr (mask == 0xff) return *this;
    const __m256i bits = _mm256_set1_epi8(static_cast<char>(mask));
    return {_mm256_and_si256(lo, bits), _mm256_and_si256(hi, bits)};
  }
  template <int count>
  Bytes64 Shift() const {
    if constexpr (count == 0) return *this;
    return {_mm256_srli_epi16(lo, count), _mm256_srli_epi16(hi, count)};
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

inline Ints16 operator+(Ints16 a, Ints16 b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }

struct Pairs16 {
  __m256i lo, hi;

  static Pairs16 Load(const void* p) {
    const auto* v = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
  }
  void Store(void* p) const {
    auto* v = static_cast<__m256i*>(p);
    _mm256_storeu_si256(v, lo);
    _mm256_storeu_si256(v + 1, hi);
  }
  static Pairs16 LoadI8(const void* p) {
    const auto* v = static_cast<const __m128i*>(p);
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128(v)), _mm256_cvtepi8_epi16(_mm_loadu_si128(v + 1))};
  }
  static Pairs16 LoadTwice(const void* p) {
    const __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    const auto order = [](int first) {
      return _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(0x80008000) + first * 0x00010001),
                              _mm256_setr_epi32(0, 0x10001, 0x20002, 0x30003, 0x40004, 0x50005, 0x60006, 0x70007));
    };
    return {_mm256_shuffle_epi8(v, order(0)), _mm256_shuffle_epi8(v, order(8))};
  }
  static void LoadNibbles(const void* p, Pairs16* low, Pairs16* high) {
    const auto* v = static_cast<const __m128i*>(p);
    const __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128(v)), b = _mm256_cvtepu8_epi16(_mm_loadu_si128(v + 1));
    const __m256i mask = _mm256_set1_epi16(15);
    *low = {_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)};
    *high = {_mm256_srli_epi16(a, 4), _mm256_srli_epi16(b, 4)};
  }
  template <int which>
  Pairs16 Twice() const {
    constexpr int first = 0x0100 + which * 0x0202;  // the bytes of one of a pair
    constexpr int twice = first * 0x10001;
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi32(twice, twice + 0x04040404, twice + 0x08080808, twice + 0x0c0c0c0c));
    return {_mm256_shuffle_epi8(lo, order), _mm256_shuffle_epi8(hi, order)};
  }
  template <int which>
  Ints16 Only() const {
    if constexpr (which == 1) return {_mm256_srai_epi32(lo, 16), _mm256_srai_epi32(hi, 16)};
    return {_mm256_srai_epi32(_mm256_slli_epi32(lo, 16), 16), _mm256_srai_epi32(_mm256_slli_epi32(hi, 16), 16)};
  }
  Ints16 Times(const int16_t* pair) const {
    const __m256i c = Broadcast4(pair);
    return {_mm256_madd_epi16(lo, c), _mm256_madd_epi16(hi, c)};
  }
};

struct Dot8 {
  static constexpr int kPhases = 1;
  static constexpr bool kPanels = true;
  static constexpr bool kNarrow = true;
  using Operand = Bytes64;
  __m256i lo, hi;

  Ints16 Times(Pairs16 factor) const { return {_mm256_madd_epi16(lo, factor.lo), _mm256_madd_epi16(hi, factor.hi)}; }

  static Dot8 Start(const XHeader& x, int span, int zero) {
    const __m256i start = _mm256_mullo_epi16(Broadcast4(x.pair[span]), _mm256_set1_epi16(static_cast<int16_t>(-zero)));
    return {start, start};
  }
  template <int>
  static Operand Phase(Bytes64 codes) {
    return codes;
  }
  static Dot8 First(Operand w, const void* x) {
    const __m256i c = Broadcast4(x);
    return Keep<Dot8>(_mm256_maddubs_epi16(w.lo, c), _mm256_maddubs_epi16(w.hi, c));
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
  static constexpr bool kPanels = true;
  static constexpr bool kNarrow = false;
  using Operand = Pairs16;
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
  static void LookupWide8(__m256i codes, __m256i low, __m256i high, __m256i* out0, __m256i* out1) {
    const __m256i l = _mm256_shuffle_epi8(low, codes), h = _mm256_shuffle_epi8(high, codes);
    const __m256 a = _mm256_castsi256_ps(_mm256_unpacklo_epi8(l, h)), b = _mm256_castsi256_ps(_mm256_unpackhi_epi8(l, h));
    *out0 = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
    *out1 = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
  }
  static void LookupWide(Bytes64 codes, const uint8_t* low, const uint8_t* high, Operand* out) {
    const __m256i l = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low)));
    const __m256i h = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(high)));
    LookupWide8(codes.lo, l, h, &out[0].lo, &out[1].lo);
    LookupWide8(codes.hi, l, h, &out[0].hi, &out[1].hi);
  }
  static Dot16 First(Operand w, const void* x) {
    const __m256i c = Broadcast4(x);
    return Keep<Dot16>(_mm256_madd_epi16(w.lo, c), _mm256_madd_epi16(w.hi, c));
  }
  Dot16 Plus(Operand w, const void* x) const {
    const __m256i c = Broadcast4(x);
    return Keep<Dot16>(_mm256_add_epi32(lo, _mm256_madd_epi16(w.lo, c)), _mm256_add_epi32(hi, _mm256_madd_epi16(w.hi, c)));
  }
  Ints16 Total() const { return {lo, hi}; }
};

}  // namespace
}  // namespace nibble
