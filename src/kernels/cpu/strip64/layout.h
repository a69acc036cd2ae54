// SPDX-License-Identifier: Apache-2.0
// strip64: the general packed layouts. 64 rows of W lie side by side, so that a vector lane is a row and no product ends in a sum
// over lanes. A strip is   codes | scales [groups][64] | zeros or biases [groups][64] | sub-scales ...
// Scales keep their stored width (f16, bf16, f32). Codes come in one of two orders:
//
// strip64, for f32 x: one column after the other; every output is one chain of fused multiply-adds over k. Codes of one column,
// 64 rows, b bits each, are 8*b bytes, split into planes so that a 16-row vector is a few byte operations:
//   4-bit plane, 32 bytes: byte i holds row i (low nibble) and row 32 + i (high nibble)
//   2-bit plane, 16 bytes: byte i holds rows i, 16 + i, 32 + i, 48 + i (from the low bits up)
//   1-bit plane,  8 bytes: bit r of the little-endian 64-bit word is row r
//   2 = [2]; 3 = [2][1]; 4 = [4]; 5 = [4][1]; 6 = [4][2]; 8 = 64 bytes; 16 and 32: f16, bf16, f32 values, 64 of them
//
// strip64d ("dots"), for integer x: steps of 32 columns; a 32-bit lane is a row and its bytes are four columns, as the processor's
// dot products of bytes want them. A step of b-bit codes is 256 * b bytes, one unit of 16 rows after the other (so they are read from
// end to end), in a unit b chunks [row] of lanes. Byte j of chunk c holds, with quad(q) = column 4 q + j:
//   2 bits: quad(4 c + f) in bits 2 f
//   3 bits: quad(2 c) in bits 0-2, quad(2 c + 1) in bits 4-6, bit c of quad(6) in bit 3, of quad(7) in bit 7
//   4 bits: quad(2 c) in bits 0-3, quad(2 c + 1) in bits 4-7
//   5 bits: quad(c) in bits 0-4; bits 0-2 of quad(5), quad(6), quad(7) in bits 5-7 of chunks 0, 2, 4; bits 3-4 of quad(5), quad(6) in
//           bits 5-6 of chunks 1, 3; bits 3 and 4 of quad(7) in bit 7 of chunks 1, 3
//   6 bits: quad(c) in bits 0-5; bits 2 i, 2 i + 1 of quad(6), quad(7) in bits 6-7 of chunks i, 3 + i
//   8 bits: quad(c)
// so that most codes cost one operation. Columns past k have code 0. Codes of a wide table have columns 1 and 2 of each quad
// exchanged, as 16-bit x have them. With a SubKind, one or two bytes of sub-scales a row: a line of
// them leads the units it is for, so that a step is read in order.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/linear.h"
#include "kernels/x_codes.h"

namespace nibble::strip64 {

enum class CodeKind : uint8_t { kBits2, kBits3, kBits4, kBits5, kBits6, kBits8, kE4M3, kE5M2, kF32, kF16, kBF16 };
// How a number t made from the code becomes the weight. S, Z, B are per row and group.
enum class Rule : uint8_t {
  kPlain,      // t
  kScaled,     // S * t                  t = table[u], or u - zero
  kScaledSum,  // S * t, but S is multiplied by the sum over a block's columns (kernels/linear.h: ScalesBlockSums)
  kMinusZero,  // S * (u - Z)
  kPlusBias,   // fma(S, u, B)
};

// strip64d: scales that are small integers times one float are kept as such, one or two bytes a row and step (two_level.h).
enum class SubKind : uint8_t {
  kNone,
  kSub,        // sub-scale of all 32 columns, 0..127
  kSubPair,    // sub-scales of the first and the last 16 columns, signed
  kSubAndMin,  // of all 32 columns: sub-scale and minimum, 0..127
  kNibbles,    // of the first and of the last 16 columns: sub-scale (low) and minimum (high nibble)
};

constexpr int CodeBytes(CodeKind kind) {  // of one column of 64 rows
  switch (kind) {
    case CodeKind::kBits2: return 16;
    case CodeKind::kBits3: return 24;
    case CodeKind::kBits4: return 32;
    case CodeKind::kBits5: return 40;
    case CodeKind::kBits6: return 48;
    case CodeKind::kBits8:
    case CodeKind::kE4M3:
    case CodeKind::kE5M2: return 64;
    case CodeKind::kF16:
    case CodeKind::kBF16: return 128;
    case CodeKind::kF32: return 256;
  }
  return 0;
}

// strip64d: of one unit of 16 rows in a step, and its sub-scales.
constexpr int64_t UnitBytes(CodeKind kind) { return 8 * CodeBytes(kind); }
constexpr int64_t UnitSubBytes(SubKind subs) { return subs == SubKind::kNone ? 0 : subs == SubKind::kSub ? 16 : 32; }
// Where a unit and its sub-scales begin in a step.
constexpr int64_t UnitOffset(CodeKind kind, SubKind subs, int64_t unit) {
  if (subs == SubKind::kNone) return unit * UnitBytes(kind);
  const int64_t units = 64 / UnitSubBytes(subs);  // of a line of sub-scales
  return unit * UnitBytes(kind) + (unit / units + 1) * 64;
}
constexpr int64_t SubOffset(CodeKind kind, SubKind subs, int64_t unit) {
  const int64_t units = 64 / UnitSubBytes(subs);
  return unit / units * (64 + units * UnitBytes(kind)) + unit % units * UnitSubBytes(subs);
}
// Columns whose products with 8-bit x 16 bits hold, in halves (dot_avx2.h: Dot8), where there is a SubKind.
constexpr int NarrowColumns(CodeKind kind, SubKind subs, bool lookup) {
  if (lookup) return 4;
  return subs == SubKind::kSubAndMin && kind != CodeKind::kBits5 ? 32 : 16;
}

// Sizes and decoder of one weight: the same for all its strips. Immutable after PrepareState.
struct State {
  CodeKind kind = CodeKind::kF32;
  Rule rule = Rule::kPlain;
  bool uses_table = false;  // t = table[u] instead of u - zero
  float zero = 0;
  DType scale_dtype = DType::kF32, zero_dtype = DType::kU8;
  int64_t k = 0, groups = 0;
  // Group of column k: group_of_k[k], or (k + k_phase) / group_elems.
  std::vector<int32_t> group_of_k;
  int64_t group_elems = 0, k_phase = 0;
  // ggml: `groups` sub-blocks share one d and dmin (f16) per super block; S = d * sub, B = -(dmin * sub_min).
  int subs_per_super = 0;  // 0: scales are one-level
  bool has_sub = false, has_sub_min = false;
  int64_t scale_offset = 0, zero_offset = 0, sub_offset = 0, sub_min_offset = 0, strip_bytes = 0;
  float table[256] = {};

  // strip64d: w = S * unit * (u - zero) + B, u = lookup[code] or the code; `zero` is the middle of the codes where the rule has a
  // zero point or bias of its own, which B then makes up for.
  bool dots = false;
  bool uses_lookup = false;
  uint8_t lookup[16] = {};
  // Tables of values that are no small integers: w = S * unit * t, t = low | high << 8 of 12 bits with sign (kWideLargest).
  bool wide = false;
  uint8_t wide_low[16] = {}, wide_high[16] = {};
  float unit = 1;
  int largest = 0;      // u never exceeds it
  int sum_columns = 0;  // columns of one integer sum: 32, or 16
  SubKind subs = SubKind::kNone;
  int64_t steps() const { return CeilDiv(k, kXStep); }
  int64_t step_bytes() const { return kXStep * CodeBytes(kind) + 4 * UnitSubBytes(subs); }

  int64_t supers() const { return subs_per_super ? CeilDiv(groups, subs_per_super) : 0; }
};

// 32 products with 16-bit x fit 32 bits.
constexpr int kWideLargest = 2047;

const LayoutRow& Layout();
const LayoutRow& DotLayout();
// The decoder of a weight that the layout (dots or not) supports.
State MakeState(const StoredWeight& weight, bool dots);
std::span<const KernelRow> Kernels();

using RunFn = void(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch);
RunFn RunScalar, RunAvx2, RunAvx512;
RunFn RunDots8Scalar, RunDots16Scalar, RunDots8Avx2, RunDots16Avx2, RunDots8Avx512, RunDots16Avx512, RunDots8Vnni, RunDots16Vnni;

}  // namespace nibble::strip64
