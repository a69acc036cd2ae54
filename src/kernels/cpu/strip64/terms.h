// SPDX-License-Identifier: Apache-2.0
// What the kernels of both orders share: scales and zero points of a group, sums on their way to y. After a vec_*.h.
#pragma once

#include "kernels/cpu/strip64/layout.h"

namespace nibble::strip64 {
namespace {

constexpr int kVectors = 4;   // vectors of 16 rows in a strip
constexpr int kTileRows = 6;  // rows of x per register tile: 6 * 4 accumulators + 4 vectors of W fit 32 registers

// S and Z (or B) of one group for the 64 rows.
struct Terms {
  F32x16 scale[kVectors], zero[kVectors];
};

F32x16 LoadValues(DType dtype, const std::byte* base, int64_t index) {
  switch (dtype) {
    case DType::kF16: return F32x16::LoadF16(base + 2 * index);
    case DType::kBF16: return F32x16::LoadBf16(base + 2 * index);
    case DType::kU8: return Codes16::Load(base + index).ToF32();
    default: return F32x16::Load(reinterpret_cast<const float*>(base) + index);
  }
}

void LoadTwoLevelTerms(const State& s, const std::byte* strip, int64_t group, Terms* terms) {
  const int64_t super = group / s.subs_per_super * kStripRows, sub = group * kStripRows;
  for (int i = 0; i < kVectors; ++i) {
    F32x16 scale = LoadValues(DType::kF16, strip + s.scale_offset, super + 16 * i);
    if (s.has_sub) scale = scale * F32x16::LoadI8(strip + s.sub_offset + sub + 16 * i);
    terms->scale[i] = scale;
    if (s.rule != Rule::kPlusBias) continue;
    F32x16 minimum = LoadValues(DType::kF16, strip + s.zero_offset, super + 16 * i);
    if (s.has_sub_min) minimum = minimum * Codes16::Load(strip + s.sub_min_offset + sub + 16 * i).ToF32();
    terms->zero[i] = F32x16::Zero() - minimum;
  }
}

void LoadTerms(const State& s, const std::byte* strip, int64_t group, Terms* terms) {
  if (s.subs_per_super) return LoadTwoLevelTerms(s, strip, group, terms);
  for (int i = 0; i < kVectors; ++i) {
    terms->scale[i] = LoadValues(s.scale_dtype, strip + s.scale_offset, group * kStripRows + 16 * i);
    if (s.rule == Rule::kMinusZero || s.rule == Rule::kPlusBias)
      terms->zero[i] = LoadValues(s.zero_dtype, strip + s.zero_offset, group * kStripRows + 16 * i);
  }
}

// Adds a finished block sum to y (or begins it), and the bias after the last block.
void Accumulate(const Segment& segment, int64_t strip, bool first, bool last, const float* sums, float* y) {
  const int64_t row0 = strip * kStripRows, rows = segment.n - row0 < kStripRows ? segment.n - row0 : kStripRows;
  const float* bias = last && !segment.bias.empty() ? segment.bias.data() + row0 : nullptr;
  float* out = y + segment.n_begin + row0;
  for (int64_t r = 0; r < rows; ++r) {
    const float sum = first ? sums[r] : out[r] + sums[r];
    out[r] = bias ? sum + bias[r] : sum;
  }
}

}  // namespace
}  // namespace nibble::strip64
