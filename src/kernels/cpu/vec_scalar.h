// SPDX-License-Identifier: Apache-2.0
// F32x16: sixteen f32 lanes, the unit in which all CPU kernels are written. One such type per instruction set (vec_scalar.h,
// vec_avx2.h, vec_avx512.h), equal bit for bit: same lane order, fused multiply-add everywhere, sums over lanes in one fixed tree.
// Include exactly one vec_*.h in an ISA file; everything is in an anonymous namespace so that no symbol leaves the object.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tensors/scalar.h"

namespace nibble {
namespace {

struct F32x16 {
  static constexpr bool kWide = false;  // of one register among 32
  float v[16];

  static F32x16 Zero() { return Set(0); }
  static F32x16 Set(float x) {
    F32x16 r;
    for (float& e : r.v) e = x;
    return r;
  }
  static F32x16 Load(const float* p) {
    F32x16 r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  void Store(float* p) const { std::memcpy(p, v, sizeof v); }

  static F32x16 LoadF16(const void* p) {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = F16ToF32(Bits16(p, i));
    return r;
  }
  static F32x16 LoadBf16(const void* p) {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = Bf16ToF32(Bits16(p, i));
    return r;
  }
  void StoreF16(void* p) const {
    for (int i = 0; i < 16; ++i) SetBits16(p, i, F32ToF16(v[i]));
  }
  void StoreBf16(void* p) const {
    for (int i = 0; i < 16; ++i) SetBits16(p, i, F32ToBf16(v[i]));
  }
  // Integral values of 8 and 16 bits as such; of four int16 the order is 0 2 1 3 (kernels/x_codes.h).
  void StoreI8(void* p) const {
    for (int i = 0; i < 16; ++i) static_cast<int8_t*>(p)[i] = static_cast<int8_t>(v[i]);
  }
  void StoreI16Quads(void* p) const {
    static constexpr int kOrder[4] = {0, 2, 1, 3};
    for (int i = 0; i < 16; ++i) SetBits16(p, i, static_cast<uint16_t>(static_cast<int16_t>(v[(i & ~3) + kOrder[i & 3]])));
  }
  // e4m3 and e5m2 codes; e4m3's NaN codes read as 480. Parts: values / kE4M3Factor, which cost less.
  static constexpr float kE4M3Factor = 256.0f;
  static F32x16 LoadE4M3Parts(const void* p) {
    F32x16 r;
    for (int i = 0; i < 16; ++i) {
      const unsigned c = static_cast<const uint8_t*>(p)[i];
      r.v[i] = F16ToF32(static_cast<uint16_t>((c & 0x80) << 8 | (c & 0x7f) << 7));
    }
    return r;
  }
  // 64 e4m3 codes times one x, added to the sums of 64 rows: x is the caller's times kE4M3XFactor, and sums are to be multiplied by
  // kE4M3SumFactor, which is exact while |x| is 0 or in [2^-77, 2^48). Rows stand in an order of the instruction set's own until
  // OrderE4M3.
  static constexpr float kE4M3XFactor = 1.0f, kE4M3SumFactor = kE4M3Factor;
  static void FmaE4M3(const void* p, float x, F32x16* sum /*[4]*/) {
    for (int i = 0; i < 4; ++i) sum[i] = Fma(LoadE4M3Parts(static_cast<const char*>(p) + 16 * i), Set(x), sum[i]);
  }
  static void OrderE4M3(F32x16* /*sum*/) {}
  static F32x16 LoadE5M2(const void* p) {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = F16ToF32(static_cast<uint16_t>(static_cast<const uint8_t*>(p)[i] << 8));
    return r;
  }
  static F32x16 LoadI8(const void* p) {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = static_cast<const int8_t*>(p)[i];
    return r;
  }

  friend F32x16 operator+(F32x16 a, F32x16 b) {
    return Map(a, b, [](float x, float y) { return x + y; });
  }
  friend F32x16 operator-(F32x16 a, F32x16 b) {
    return Map(a, b, [](float x, float y) { return x - y; });
  }
  friend F32x16 operator*(F32x16 a, F32x16 b) {
    return Map(a, b, [](float x, float y) { return x * y; });
  }
  friend F32x16 operator/(F32x16 a, F32x16 b) {
    return Map(a, b, [](float x, float y) { return x / y; });
  }
  // x86 order: the second operand when either is NaN.
  static F32x16 Max(F32x16 a, F32x16 b) {
    return Map(a, b, [](float x, float y) { return x > y ? x : y; });
  }
  static F32x16 Min(F32x16 a, F32x16 b) {
    return Map(a, b, [](float x, float y) { return x < y ? x : y; });
  }
  static F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = std::fma(a.v[i], b.v[i], c.v[i]);
    return r;
  }
  static F32x16 Round(F32x16 a) {  // to nearest even
    return Map(a, a, [](float x, float) { return std::nearbyint(x); });
  }
  // a * 2^n for integral n in [-126, 127].
  static F32x16 Scale2(F32x16 a, F32x16 n) {
    return Map(a, n,
               [](float x, float e) { return x * std::bit_cast<float>(static_cast<uint32_t>(static_cast<int>(e) + 127) << 23); });
  }
  // Fixed tree: halves of 8, 4, 2, 1.
  float Sum() const {
    float t[8];
    for (int i = 0; i < 8; ++i) t[i] = v[i] + v[i + 8];
    for (int i = 0; i < 4; ++i) t[i] = t[i] + t[i + 4];
    for (int i = 0; i < 2; ++i) t[i] = t[i] + t[i + 2];
    return t[0] + t[1];
  }
  float HorizontalMax() const {
    float m = v[0];
    for (float e : v) m = e > m ? e : m;
    return m;
  }

 private:
  static uint16_t Bits16(const void* p, int i) {
    uint16_t h;
    std::memcpy(&h, static_cast<const char*>(p) + 2 * i, 2);
    return h;
  }
  static void SetBits16(void* p, int i, uint16_t h) { std::memcpy(static_cast<char*>(p) + 2 * i, &h, 2); }
  template <typename F>
  static F32x16 Map(F32x16 a, F32x16 b, F f) {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = f(a.v[i], b.v[i]);
    return r;
  }
};

// Sixteen small unsigned codes.
struct Codes16 {
  uint8_t c[16];

  static Codes16 Load(const void* p) {
    Codes16 r;
    std::memcpy(r.c, p, 16);
    return r;
  }
  // (c >> shift) & mask of every byte.
  Codes16 Field(int shift, uint8_t mask) const {
    Codes16 r;
    for (int i = 0; i < 16; ++i) r.c[i] = static_cast<uint8_t>((c[i] >> shift) & mask);
    return r;
  }
  // Adds bit i of `bits` as value `weight` to code i.
  Codes16 WithBits(uint16_t bits, uint8_t weight) const {
    Codes16 r = *this;
    for (int i = 0; i < 16; ++i) r.c[i] = static_cast<uint8_t>(r.c[i] | ((bits >> i & 1) ? weight : 0));
    return r;
  }
  Codes16 Or(Codes16 other, int shift) const {
    Codes16 r = *this;
    for (int i = 0; i < 16; ++i) r.c[i] = static_cast<uint8_t>(r.c[i] | (other.c[i] << shift));
    return r;
  }
  F32x16 ToF32() const {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = c[i];
    return r;
  }
  // Entry of a 16-float table (codes < 16).
  F32x16 Lookup16(const float* table) const {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = table[c[i] & 15];
    return r;
  }
  F32x16 Lookup256(const float* table) const {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = table[c[i]];
    return r;
  }
};

}  // namespace
}  // namespace nibble
