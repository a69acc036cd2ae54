// SPDX-License-Identifier: Apache-2.0
// What the kernels of both orders share: scales and zero points of a group, sums on their way to y. After a vec_*.h.
#pragma once

#include "kernels/cpu/strip64/layout.h"

namespace nibble::strip64 {
namespace {

constexpr int kVectors = 4;  // vectors of 16 rows in a strip
// A GEMV reads strips side by side, a few lines of one and then of the next: several streams are read faster than one (README).
constexpr int kFloatStrips = 4;  // with f32 x
constexpr int kDotStrips = 2;    // with integers
constexpr int kTileRows = 6;     // rows of x per register tile: 6 * 4 accumulators + 4 vectors of W fit 32 registers

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

// ---- sums of a strip are kept side by side until they are whole. Rows of y lie far apart, often by a power of two, so that they
// fall on few sets of the cache.

constexpr int64_t kMostRows = 96;  // at once; x of so many rows and some columns stays in L2 while all strips are multiplied by it
constexpr int64_t kSumFloats = kMostRows * kStripRows;

// y of one strip and some rows -> sums [rows][64] to go on with; `first`: begins them with 0.
void LoadSums(const Segment& segment, int64_t strip, bool first, const LinearArgs& args, Range rows, float* sums) {
  const int64_t row0 = strip * kStripRows, count = segment.n - row0 < kStripRows ? segment.n - row0 : kStripRows;
  __builtin_memset(sums, 0, static_cast<size_t>(rows.size() * kStripRows) * sizeof(float));
  if (first) return;
  const float* y = args.y + rows.begin * args.y_stride + segment.n_begin + row0;
  for (int64_t r = 0; r < rows.size(); ++r, y += args.y_stride, sums += kStripRows)
    __builtin_memcpy(sums, y, static_cast<size_t>(count) * sizeof(float));
}

// Sums [rows][64] -> y, with the bias if they are the `last`.
void StoreSums(const Segment& segment, int64_t strip, bool last, const LinearArgs& args, Range rows, const float* sums) {
  const int64_t row0 = strip * kStripRows, count = segment.n - row0 < kStripRows ? segment.n - row0 : kStripRows;
  const float* bias = last && !segment.bias.empty() ? segment.bias.data() + row0 : nullptr;
  float* y = args.y + rows.begin * args.y_stride + segment.n_begin + row0;
  for (int64_t row = rows.begin; row < rows.end; ++row, y += args.y_stride, sums += kStripRows)
    for (int64_t i = 0; i < count; ++i) y[i] = bias ? sums[i] + bias[i] : sums[i];
}

// Asks for the codes of the next panel in parts, so that they arrive while this one is multiplied: with few rows the time to read
// codes would be added to the time to multiply.
class Ahead {
 public:
  Ahead(const std::byte* begin, int64_t bytes, int64_t parts)
      : at_(begin), end_(begin + bytes), part_(CeilDiv(CeilDiv(bytes, int64_t{64}), parts) * 64) {}
  void Next() {
    const std::byte* stop = end_ - at_ < part_ ? end_ : at_ + part_;
    for (; at_ < stop; at_ += 64) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const std::byte *at_, *end_;
  int64_t part_;
};

}  // namespace
}  // namespace nibble::strip64
