// SPDX-License-Identifier: Apache-2.0
// F32x16 as two 256-bit registers. See vec_scalar.h for the contract. Includes no header with inline code of its own.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace nibble {
namespace {

struct F32x16 {
  static constexpr bool kWide = false;  // of one register among 32
  __m256 lo, hi;

  static F32x16 Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F32x16 Set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static F32x16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  void Store(float* p) const {
    _mm256_storeu_ps(p, lo);
    _mm256_storeu_ps(p + 8, hi);
  }
  static __m128i Load8x16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static F32x16 LoadF16(const void* p) {
    const char* b = static_cast<const char*>(p);
    return {_mm256_cvtph_ps(Load8x16(b)), _mm256_cvtph_ps(Load8x16(b + 16))};
  }
  static __m256 Bf16Half(const void* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(Load8x16(p)), 16)); }
  static F32x16 LoadBf16(const void* p) {
    const char* b = static_cast<const char*>(p);
    return {Bf16Half(b), Bf16Half(b + 16)};
  }
  void StoreF16(void* p) const {
    char* b = static_cast<char*>(p);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(b), _mm256_cvtps_ph(lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(b + 16), _mm256_cvtps_ph(hi, _MM_FROUND_TO_NEAREST_INT));
  }
  // Round to nearest even; NaN keeps its top bits and becomes quiet.
  static __m128i ToBf16(__m256 x) {
    const __m256i u = _mm256_castps_si256(x), one = _mm256_set1_epi32(1), top = _mm256_srli_epi32(u, 16);
    const __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(_mm256_set1_epi32(0x7fff), _mm256_and_si256(top, one))), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i r = _mm256_blendv_epi8(rounded, _mm256_or_si256(top, _mm256_set1_epi32(0x40)), nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
  }
  void StoreBf16(void* p) const {
    char* b = static_cast<char*>(p);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(b), ToBf16(lo));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(b + 16), ToBf16(hi));
  }
  __m256i ToI16() const {
    const __m256i packed = _mm256_packs_epi32(_mm256_cvtps_epi32(lo), _mm256_cvtps_epi32(hi));
    return _mm256_permute4x64_epi64(packed, 0xd8);  // packs works within halves
  }
  void StoreI8(void* p) const {
    const __m256i h = ToI16();
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm_packs_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1)));
  }
  void StoreI16Quads(void* p) const {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(ToI16(), 0xd8), 0xd8));
  }
  static F32x16 FromHalves(__m256i h) {
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(h)), _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1))};
  }
  // e4m3's bits, moved into place, are an f16 of the value times 2^-8, subnormals too: the sign stays, its copy goes.
  static constexpr float kE4M3Factor = 256.0f;
  static F32x16 LoadE4M3Parts(const void* p) {
    const __m256i high = _mm256_slli_epi16(_mm256_cvtepu8_epi16(Load8x16(p)), 8);
    return FromHalves(_mm256_and_si256(_mm256_srai_epi16(high, 1), _mm256_set1_epi16(static_cast<int16_t>(0xbfff))));
  }
  // The bits go to their places in an f32, a value times 2^-120; x makes up for 2^80 of that, the sum's factor for the rest.
  // A multiplication widens every other byte with its sign, so that 32 codes cost eight operations. Lane l of half j of
  // sum[2 h], sum[2 h + 1] is row 32 h + 4 l + j.
  static constexpr float kE4M3XFactor = 0x1p80f, kE4M3SumFactor = 0x1p40f;
  static void FmaE4M3(const void* p, float x, F32x16* sum /*[4]*/) {
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(0x87f00000));
    const __m256 xs = _mm256_set1_ps(x);
    const auto add = [&](__m256i bits, __m256& to) {
      to = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(bits, mask)), xs, to);
    };
    for (int h = 0; h < 2; ++h) {
      const __m256i c = _mm256_loadu_si256(static_cast<const __m256i*>(p) + h);
      const __m256i even = _mm256_maddubs_epi16(_mm256_set1_epi16(16), c),
                    odd = _mm256_maddubs_epi16(_mm256_set1_epi16(16 << 8), c);
      add(_mm256_slli_epi32(even, 16), sum[2 * h].lo);
      add(_mm256_slli_epi32(odd, 16), sum[2 * h].hi);
      add(even, sum[2 * h + 1].lo);
      add(odd, sum[2 * h + 1].hi);
    }
  }
  static void OrderE4M3(F32x16* sum /*[4]*/) {
    for (int h = 0; h < 2; ++h) {
      F32x16 &a = sum[2 * h], &b = sum[2 * h + 1];
      const auto pairs = [](__m256 p, __m256 q, bool high) {
        return _mm256_castps_pd(high ? _mm256_unpackhi_ps(p, q) : _mm256_unpacklo_ps(p, q));
      };
      const __m256d ab0 = pairs(a.lo, a.hi, false), ab1 = pairs(a.lo, a.hi, true), cd0 = pairs(b.lo, b.hi, false),
                    cd1 = pairs(b.lo, b.hi, true);
      const __m256 r0 = _mm256_castpd_ps(_mm256_unpacklo_pd(ab0, cd0)), r1 = _mm256_castpd_ps(_mm256_unpackhi_pd(ab0, cd0));
      const __m256 r2 = _mm256_castpd_ps(_mm256_unpacklo_pd(ab1, cd1)), r3 = _mm256_castpd_ps(_mm256_unpackhi_pd(ab1, cd1));
      a = {_mm256_permute2f128_ps(r0, r1, 0x20), _mm256_permute2f128_ps(r2, r3, 0x20)};
      b = {_mm256_permute2f128_ps(r0, r1, 0x31), _mm256_permute2f128_ps(r2, r3, 0x31)};
    }
  }
  static F32x16 LoadE5M2(const void* p) { return FromHalves(_mm256_slli_epi16(_mm256_cvtepu8_epi16(Load8x16(p)), 8)); }
  static F32x16 LoadI8(const void* p) {
    const auto* half = static_cast<const __m128i*>(p);  // of eight each: the instructions that widen load them
    const auto* other = reinterpret_cast<const __m128i*>(static_cast<const char*>(p) + 8);
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(half))),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(other)))};
  }

  friend F32x16 operator+(F32x16 a, F32x16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  friend F32x16 operator-(F32x16 a, F32x16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  friend F32x16 operator*(F32x16 a, F32x16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  friend F32x16 operator/(F32x16 a, F32x16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static F32x16 Max(F32x16 a, F32x16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static F32x16 Min(F32x16 a, F32x16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
  static F32x16 Round(F32x16 a) {
    return {_mm256_round_ps(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  static __m256 Scale2Half(__m256 a, __m256 n) {
    const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(bits));
  }
  static F32x16 Scale2(F32x16 a, F32x16 n) { return {Scale2Half(a.lo, n.lo), Scale2Half(a.hi, n.hi)}; }
  float Sum() const {
    const __m256 eight = _mm256_add_ps(lo, hi);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  float HorizontalMax() const {
    const __m256 eight = _mm256_max_ps(lo, hi);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
};

struct Codes16 {
  __m128i c;

  static Codes16 Load(const void* p) { return {_mm_loadu_si128(static_cast<const __m128i*>(p))}; }
  Codes16 Field(int shift, uint8_t mask) const {
    return {_mm_and_si128(_mm_srli_epi16(c, shift), _mm_set1_epi8(static_cast<char>(mask)))};
  }
  Codes16 WithBits(uint16_t bits, uint8_t weight) const {
    // Byte i gets the byte of `bits` that holds its bit, then the bit is tested in place.
    const __m128i spread =
        _mm_shuffle_epi8(_mm_set1_epi16(static_cast<int16_t>(bits)), _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
    const __m128i select = _mm_set1_epi64x(static_cast<int64_t>(0x8040201008040201ull));
    const __m128i set = _mm_cmpeq_epi8(_mm_and_si128(spread, select), select);
    return {_mm_or_si128(c, _mm_and_si128(set, _mm_set1_epi8(static_cast<char>(weight))))};
  }
  // `other` codes must fit after the shift (no bits cross bytes).
  Codes16 Or(Codes16 other, int shift) const { return {_mm_or_si128(c, _mm_slli_epi16(other.c, shift))}; }
  F32x16 ToF32() const {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(c)), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(c, 8)))};
  }
  static __m256 Lookup16Half(__m128i codes, const float* table) {
    const __m256i index = _mm256_cvtepu8_epi32(codes);
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index),
                 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));  // bit 3 chooses
  }
  F32x16 Lookup16(const float* table) const { return {Lookup16Half(c, table), Lookup16Half(_mm_srli_si128(c, 8), table)}; }
  F32x16 Lookup256(const float* table) const {
    return {_mm256_i32gather_ps(table, _mm256_cvtepu8_epi32(c), 4),
            _mm256_i32gather_ps(table, _mm256_cvtepu8_epi32(_mm_srli_si128(c, 8)), 4)};
  }
};

}  // namespace
}  // namespace nibble
