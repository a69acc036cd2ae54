// SPDX-License-Identifier: Apache-2.0
// The integers of the dot kernels: sixteen rows of W, four columns of each, as 64 bytes. One set of types per instruction set
// (dot_scalar.h, dot_avx2.h, dot_avx512.h, with VNNI or without), all exact. Include exactly one, after its vec_*.h.
//
//   Bytes64   lane r holds columns 0..3 of row r, unsigned
//   Ints16    one i32 per row
//   Pairs16   two i16 per row
//   Dot8      sums of (code - zero) * x, u8 codes, i8 x. May be held in 16 bits, columns 0 and 1 of each four apart from
//             2 and 3: what fits is for the caller to know (strip64/state.cc)
//   Dot16     the same of i16 x (XForm::kI16's order)
// A sum begins with -zero times the sums of x's codes, so that adding u * x gives it exactly.
// A code vector is multiplied in kPhases operands, each shared by all rows of x. kPanels: many rows are multiplied by way of a
// panel (strip64/dots.h); the baseline takes one row after the other (strip64/README.md).
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/x_codes.h"

namespace nibble {
namespace {

struct Bytes64 {
  uint8_t b[64];

  static Bytes64 Load(const void* p) {
    Bytes64 r;
    std::memcpy(r.b, p, 64);
    return r;
  }
  void Store(void* p) const { std::memcpy(p, b, 64); }
  // Bits [from, from + width) of every byte, moved to bit `to`; all others 0.
  template <int from, int to, int width>
  Bytes64 Field() const {
    Bytes64 r;
    for (int i = 0; i < 64; ++i) r.b[i] = static_cast<uint8_t>((b[i] >> from & ((1 << width) - 1)) << to);
    return r;
  }
  template <int mask>
  Bytes64 And() const {
    Bytes64 r;
    for (int i = 0; i < 64; ++i) r.b[i] = static_cast<uint8_t>(b[i] & mask);
    return r;
  }
  // To the right; what comes in from the left may be anything.
  template <int count>
  Bytes64 Shift() const {
    Bytes64 r;
    for (int i = 0; i < 64; ++i) r.b[i] = static_cast<uint8_t>(b[i] >> count);
    return r;
  }
  Bytes64 operator|(const Bytes64& other) const {
    Bytes64 r;
    for (int i = 0; i < 64; ++i) r.b[i] = b[i] | other.b[i];
    return r;
  }
  // table[code], bits 0-3 of each byte; bit 7 is 0, the others do not count.
  Bytes64 Lookup(const uint8_t* table) const {
    Bytes64 r;
    for (int i = 0; i < 64; ++i) r.b[i] = table[b[i] & 15];
    return r;
  }
};

struct Ints16 {
  int32_t v[16];
  F32x16 ToF32() const {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = static_cast<float>(v[i]);
    return r;
  }
};

inline Ints16 operator+(const Ints16& a, const Ints16& b) {
  Ints16 r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] + b.v[i];
  return r;
}

struct Pairs16 {
  int16_t v[32];

  static Pairs16 Load(const void* p) {
    Pairs16 r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  void Store(void* p) const { std::memcpy(p, v, sizeof v); }
  static Pairs16 LoadI8(const void* p) {
    Pairs16 r;
    for (int i = 0; i < 32; ++i) r.v[i] = static_cast<const int8_t*>(p)[i];
    return r;
  }
  // 16 bytes, each as a pair.
  static Pairs16 LoadTwice(const void* p) {
    Pairs16 r;
    for (int i = 0; i < 32; ++i) r.v[i] = static_cast<const uint8_t*>(p)[i / 2];
    return r;
  }
  // The low and the high four bits of unsigned bytes.
  static void LoadNibbles(const void* p, Pairs16* low, Pairs16* high) {
    const auto* b = static_cast<const uint8_t*>(p);
    for (int i = 0; i < 32; ++i) {
      low->v[i] = b[i] & 15;
      high->v[i] = b[i] >> 4;
    }
  }
  // One of each pair, twice, and as a row's i32.
  template <int which>
  Pairs16 Twice() const {
    Pairs16 r;
    for (int i = 0; i < 32; ++i) r.v[i] = v[(i & ~1) + which];
    return r;
  }
  template <int which>
  Ints16 Only() const {
    Ints16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = v[2 * i + which];
    return r;
  }
  // pair: two i16.
  Ints16 Times(const int16_t* pair) const {
    Ints16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = v[2 * i] * pair[0] + v[2 * i + 1] * pair[1];
    return r;
  }
};

struct Dot8 {
  static constexpr int kPhases = 1;
  static constexpr bool kPanels = false;
  static constexpr bool kNarrow = false;  // sums are held in 16 bits
  using Operand = Bytes64;
  int32_t v[16];

  // factor: a number twice (Pairs16::Twice).
  Ints16 Times(const Pairs16& factor) const {
    Ints16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = v[i] * factor.v[2 * i];
    return r;
  }

  static Dot8 Start(const XHeader& x, int span, int zero) {
    Dot8 r;
    for (int32_t& sum : r.v) sum = -zero * x.sum[span];
    return r;
  }
  template <int>
  static Operand Phase(const Bytes64& codes) {
    return codes;
  }
  // x: the codes of four columns.
  Dot8 Plus(const Operand& w, const void* x) const {
    const auto* c = static_cast<const int8_t*>(x);
    Dot8 sum = *this;
    for (int r = 0; r < 16; ++r)
      for (int j = 0; j < 4; ++j) sum.v[r] += w.b[4 * r + j] * c[j];
    return sum;
  }
  // A sum that begins with 0.
  static Dot8 First(const Operand& w, const void* x) { return Dot8{}.Plus(w, x); }
  Ints16 Total() const {
    Ints16 r;
    std::memcpy(r.v, v, sizeof v);
    return r;
  }
};

struct Dot16 {
  static constexpr int kPhases = 2;  // columns 0 and 2, then 1 and 3
  static constexpr bool kPanels = false;
  static constexpr bool kNarrow = false;
  using Operand = Pairs16;
  int32_t v[16];

  // Numbers low[code] | high[code] << 8 with sign, for codes whose columns lie in the order 0 2 1 3. out [kPhases].
  static void LookupWide(const Bytes64& codes, const uint8_t* low, const uint8_t* high, Operand* out) {
    for (int i = 0; i < 64; ++i)
      out[i / 2 % 2].v[i / 4 * 2 + i % 2] = static_cast<int16_t>(low[codes.b[i] & 15] | high[codes.b[i] & 15] << 8);
  }

  static Dot16 Start(const XHeader& x, int span, int zero) {
    Dot16 r;
    for (int32_t& sum : r.v) sum = -zero * x.sum[span];
    return r;
  }
  template <int phase>
  static Operand Phase(const Bytes64& codes) {
    Operand r;
    for (int i = 0; i < 32; ++i) r.v[i] = codes.b[2 * i + phase];
    return r;
  }
  Dot16 Plus(const Operand& w, const void* x) const {
    int16_t c[2];
    std::memcpy(c, x, 4);
    Dot16 sum = *this;
    for (int r = 0; r < 16; ++r) sum.v[r] += w.v[2 * r] * c[0] + w.v[2 * r + 1] * c[1];
    return sum;
  }
  static Dot16 First(const Operand& w, const void* x) { return Dot16{}.Plus(w, x); }
  Ints16 Total() const {
    Ints16 r;
    std::memcpy(r.v, v, sizeof v);
    return r;
  }
};

}  // namespace
}  // namespace nibble
