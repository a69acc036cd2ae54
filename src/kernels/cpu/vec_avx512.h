// SPDX-License-Identifier: Apache-2.0
// F32x16 as one 512-bit register. See vec_scalar.h for the contract. Includes no header with inline code of its own.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace nibble {
namespace {

struct F32x16 {
  static constexpr bool kWide = true;  // one register, of 32
  __m512 v;

  static F32x16 Zero() { return {_mm512_setzero_ps()}; }
  static F32x16 Set(float x) { return {_mm512_set1_ps(x)}; }
  static F32x16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
  void Store(float* p) const { _mm512_storeu_ps(p, v); }
  static __m256i Load16x16(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static F32x16 LoadF16(const void* p) { return {_mm512_cvtph_ps(Load16x16(p))}; }
  static F32x16 LoadBf16(const void* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(Load16x16(p)), 16))};
  }
  void StoreF16(void* p) const { _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
  // Round to nearest even; NaN keeps its top bits and becomes quiet.
  void StoreBf16(void* p) const {
    const __m512i u = _mm512_castps_si512(v), top = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(_mm512_set1_epi32(0x7fff), odd)), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i r = _mm512_mask_or_epi32(rounded, nan, top, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(r));
  }
  // The codes of small floats go through f16, whose exponent field contains theirs: e4m3's bits, moved into place, are the value
  // times 2^-8, subnormals too.
  static __m256i HighBytes(const void* p) {
    return _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p))), 8);
  }
  static constexpr float kE4M3Factor = 256.0f;
  static F32x16 LoadE4M3Parts(const void* p) {  // the sign stays, its copy goes
    return {_mm512_cvtph_ps(_mm256_and_si256(_mm256_srai_epi16(HighBytes(p), 1), _mm256_set1_epi16(static_cast<int16_t>(0xbfff))))};
  }
  // By way of f16: some processors take long for products of f32 subnormals, which e4m3's would be otherwise (vec_avx2.h).
  static constexpr float kE4M3XFactor = 1.0f, kE4M3SumFactor = kE4M3Factor;
  static void FmaE4M3(const void* p, float x, F32x16* sum /*[4]*/) {
    for (int i = 0; i < 4; ++i) sum[i] = Fma(LoadE4M3Parts(static_cast<const char*>(p) + 16 * i), Set(x), sum[i]);
  }
  static void OrderE4M3(F32x16* /*sum*/) {}
  static F32x16 LoadE5M2(const void* p) { return {_mm512_cvtph_ps(HighBytes(p))}; }
  static F32x16 LoadI8(const void* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))))};
  }

  friend F32x16 operator+(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend F32x16 operator-(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend F32x16 operator*(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend F32x16 operator/(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
  static F32x16 Max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
  static F32x16 Min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
  static F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  static F32x16 Round(F32x16 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
  static F32x16 Scale2(F32x16 a, F32x16 n) {
    const __m512i bits = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23);
    return {_mm512_mul_ps(a.v, _mm512_castsi512_ps(bits))};
  }
  void StoreI8(void* p) const { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))); }
  void StoreI16Quads(void* p) const {
    const __m256i h = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v));
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(h, 0xd8), 0xd8));
  }
  float Sum() const {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  float HorizontalMax() const {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
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
    return {_mm_mask_blend_epi8(bits, c, _mm_or_si128(c, _mm_set1_epi8(static_cast<char>(weight))))};
  }
  // `other` codes must fit after the shift (no bits cross bytes).
  Codes16 Or(Codes16 other, int shift) const { return {_mm_or_si128(c, _mm_slli_epi16(other.c, shift))}; }
  __m512i Wide() const { return _mm512_cvtepu8_epi32(c); }
  F32x16 ToF32() const { return {_mm512_cvtepi32_ps(Wide())}; }
  F32x16 Lookup16(const float* table) const { return {_mm512_permutexvar_ps(Wide(), _mm512_loadu_ps(table))}; }
  F32x16 Lookup256(const float* table) const { return {_mm512_i32gather_ps(Wide(), table, 4)}; }
};

}  // namespace
}  // namespace nibble
