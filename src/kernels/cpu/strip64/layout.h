// SPDX-License-Identifier: Apache-2.0
// strip64: the general packed layout. 64 rows of W lie side by side, one column after the other, so that a vector lane is a row:
// every output is one chain of fused multiply-adds over k, the same for one row of x or a thousand, on every vector width.
//
// A strip is   codes [k][code_bytes] | scales [groups][64] | zeros or biases [groups][64] | sub-scales ...
// Codes of one column, 64 rows, b bits each, are 8*b bytes, split into planes so that a 16-row vector is a few byte operations:
//   4-bit plane, 32 bytes: byte i holds row i (low nibble) and row 32 + i (high nibble)
//   2-bit plane, 16 bytes: byte i holds rows i, 16 + i, 32 + i, 48 + i (from the low bits up)
//   1-bit plane,  8 bytes: bit r of the little-endian 64-bit word is row r
//   2 = [2]; 3 = [2][1]; 4 = [4]; 5 = [4][1]; 6 = [4][2]; 8 = 64 bytes; 16 and 32: f16, bf16, f32 values, 64 of them
// The later planes hold the high bits. Scales keep their stored width (f16, bf16, f32).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/linear.h"

namespace nibble::strip64 {

enum class CodeKind : uint8_t { kBits2, kBits3, kBits4, kBits5, kBits6, kBits8, kE4M3, kE5M2, kF32, kF16, kBF16 };
// How a number t made from the code becomes the weight. S, Z, B are per row and group.
enum class Rule : uint8_t {
  kPlain,      // t
  kScaled,     // S * t                  t = table[u], or u - zero
  kMinusZero,  // S * (u - Z)
  kPlusBias,   // fma(S, u, B)
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

  int64_t supers() const { return subs_per_super ? CeilDiv(groups, subs_per_super) : 0; }
};

const LayoutRow& Layout();
std::span<const KernelRow> Kernels();

void RunScalar(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch);
void RunAvx2(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch);
void RunAvx512(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch);

}  // namespace nibble::strip64
