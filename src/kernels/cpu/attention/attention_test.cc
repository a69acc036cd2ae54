// SPDX-License-Identifier: Apache-2.0
// Attention over stretches against plain f64 softmax of dot products; every instruction set against the scalar kernels bit for bit;
// a query alone against the same query among others.
#include "kernels/cpu/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tensors/scalar.h"

namespace nibble {
namespace {

bool IsSmallFloat(DType dtype) { return dtype == DType::kE4M3 || dtype == DType::kE5M2; }

// Keys and values of one sequence and head, stored as `dtype`, and queries at its last positions.
struct AttentionCase {
  DType dtype = DType::kF32;
  int64_t dim = 32, v_dim = 48, positions = 600, queries = 3, window = 0;
  float scale = 0.3f, softcap = 0, v_scale = 1;
  const float* sink = nullptr;
  std::vector<float> slopes = {};
  bool row_scale = false;
  int64_t page_bytes(int64_t width) const { return kPageTokens * (width * DTypeBytes(dtype) + (row_scale ? 4 : 0)); }
  int64_t stride() const { return RoundUp(dim, 16); }
  int64_t v_stride() const { return RoundUp(v_dim, 16); }
  int64_t last(int64_t query) const { return positions - queries + query; }
  int64_t first(int64_t query) const { return window > 0 ? std::max<int64_t>(0, last(query) - window + 1) : 0; }
};

struct Data {
  std::vector<float> q, k, v;               // [queries][stride], [positions][stride], [positions][v_stride], as stored
  std::vector<std::byte> k_pages, v_pages;  // whole pages; slots beyond the last position are NaN
};

void StoreAt(DType dtype, std::vector<std::byte>& out, int64_t index, float x) {
  if (IsSmallFloat(dtype))
    out[static_cast<size_t>(index)] = static_cast<std::byte>(EncodeSmallFloat(dtype, x));
  else
    StoreScalar(dtype, out.data(), index, x);
}

Data Make(const AttentionCase& c) {
  std::mt19937 rng(7);
  std::normal_distribution<float> normal;
  const int64_t pages = CeilDiv(c.positions, kPageTokens);
  Data d;
  d.q.assign(static_cast<size_t>(c.queries * c.stride()), 0);
  for (int64_t i = 0; i < c.queries; ++i)
    for (int64_t j = 0; j < c.dim; ++j) d.q[static_cast<size_t>(i * c.stride() + j)] = normal(rng);
  const auto fill = [&](int64_t dim, int64_t stride, bool transposed, std::vector<float>* values, std::vector<std::byte>* stored) {
    values->assign(static_cast<size_t>(c.positions * stride), 0);
    const int64_t page_bytes = c.page_bytes(stride);
    stored->assign(static_cast<size_t>(pages * page_bytes), std::byte{0xff});
    std::vector<std::byte> page(static_cast<size_t>(page_bytes));
    for (int64_t t = 0; t < c.positions; ++t) {
      const int64_t slot = t % kPageTokens;
      std::byte* at_page = stored->data() + t / kPageTokens * page_bytes;
      std::memcpy(page.data(), at_page, page.size());
      const float scale = c.row_scale ? std::exp(normal(rng)) / (c.dtype == DType::kI8 ? 40 : 1) : 1.0f;
      if (c.row_scale) std::memcpy(page.data() + kPageTokens * stride * DTypeBytes(c.dtype) + slot * 4, &scale, 4);
      for (int64_t j = 0; j < stride; ++j) {
        const int64_t at = transposed ? j * kPageTokens + slot : slot * stride + j;
        StoreAt(c.dtype, page, at, j < dim ? normal(rng) * (c.dtype == DType::kI8 ? 40.0f : 1.0f) : 0.0f);
        const float code = IsSmallFloat(c.dtype) ? DecodeSmallFloat(c.dtype, static_cast<uint8_t>(page[static_cast<size_t>(at)]))
                                                 : LoadScalar(c.dtype, page.data(), at);
        (*values)[static_cast<size_t>(t * stride + j)] = scale * code;
      }
      std::memcpy(at_page, page.data(), page.size());
    }
  };
  fill(c.dim, c.stride(), true, &d.k, &d.k_pages);
  fill(c.v_dim, c.v_stride(), false, &d.v, &d.v_pages);
  return d;
}

// Queries [begin, end) through the kernels; [end - begin][v_dim].
std::vector<float> Attend(const AttentionKernels& kernels, const AttentionCase& c, const Data& d, int64_t begin, int64_t end) {
  const int64_t queries = end - begin, v_stride = c.v_stride(), page_k = c.page_bytes(c.stride()), page_v = c.page_bytes(v_stride);
  std::vector<float> max(static_cast<size_t>(queries), -std::numeric_limits<float>::infinity()), sum(max.size(), 0),
      out(static_cast<size_t>(queries * v_stride), 0), part_max(max), part_sum(sum), part_out(out);
  std::vector<float> scratch(static_cast<size_t>(AttentionStretch::ScratchFloats(queries, c.stride(), v_stride)));
  const AttentionSums sums{max.data(), sum.data(), out.data()}, partial{part_max.data(), part_sum.data(), part_out.data()};
  const int64_t to = c.last(end - 1) + 1;
  for (int64_t from = c.first(begin) / kStretch * kStretch; from < to; from += kStretch) {
    AttentionStretch s;
    s.queries = queries;
    s.q = d.q.data() + begin * c.stride();
    s.slots = {std::max<int64_t>(0, c.first(begin) - from), std::min(kStretch, to - from)};
    for (int64_t page = s.slots.begin / kPageTokens; page * kPageTokens < s.slots.end; ++page) {
      s.k[page] = d.k_pages.data() + (from / kPageTokens + page) * page_k;
      s.v[page] = d.v_pages.data() + (from / kPageTokens + page) * page_v;
    }
    std::vector<Range> seen;
    std::vector<int64_t> last;
    for (int64_t i = begin; i < end; ++i) {
      seen.push_back({std::max(c.first(i) - from, s.slots.begin), std::min(c.last(i) + 1 - from, s.slots.end)});
      last.push_back(c.last(i) - from);
    }
    s.seen = seen.data();
    s.last = last.data();
    if (!c.slopes.empty()) s.slopes = c.slopes.data() + begin;
    s.k_dim = c.stride();
    s.v_dim = v_stride;
    s.dtype = c.dtype;
    s.row_scale = c.row_scale;
    s.scale = c.scale;
    s.softcap = c.softcap;
    s.scratch = scratch.data();
    kernels.stretch(s, partial);
    kernels.fold(sums, partial, queries, v_stride);
  }
  std::vector<float> result(static_cast<size_t>(queries * c.v_dim));
  for (int64_t i = 0; i < queries; ++i) kernels.finish(sums, i, v_stride, c.sink, c.v_scale, c.v_dim, result.data() + i * c.v_dim);
  return result;
}

std::vector<double> Expected(const AttentionCase& c, const Data& d) {
  std::vector<double> out(static_cast<size_t>(c.queries * c.v_dim));
  for (int64_t i = 0; i < c.queries; ++i) {
    long double sum = c.sink ? std::exp(static_cast<long double>(*c.sink)) : 0;  // exp of large scores fits
    std::vector<long double> o(static_cast<size_t>(c.v_dim));
    for (int64_t t = c.first(i); t <= c.last(i); ++t) {
      long double s = 0;
      for (int64_t j = 0; j < c.stride(); ++j)
        s += static_cast<double>(d.q[static_cast<size_t>(i * c.stride() + j)]) *
             static_cast<double>(d.k[static_cast<size_t>(t * c.stride() + j)]);
      s *= static_cast<double>(c.scale);
      if (c.softcap > 0) s = static_cast<long double>(c.softcap) * std::tanh(s / static_cast<long double>(c.softcap));
      if (!c.slopes.empty()) s += static_cast<double>(c.slopes[static_cast<size_t>(i)]) * static_cast<double>(t - c.last(i));
      sum += std::exp(s);
      for (int64_t j = 0; j < c.v_dim; ++j)
        o[static_cast<size_t>(j)] += std::exp(s) * static_cast<long double>(d.v[static_cast<size_t>(t * c.v_stride() + j)]);
    }
    for (int64_t j = 0; j < c.v_dim; ++j)
      out[static_cast<size_t>(i * c.v_dim + j)] =
          static_cast<double>(o[static_cast<size_t>(j)] / sum) * static_cast<double>(c.v_scale);
  }
  return out;
}

void CheckAttention(const AttentionCase& c, double tolerance = 2e-5) {
  const Data d = Make(c);
  const std::vector<double> expected = Expected(c, d);
  const std::vector<float> scalar = Attend(AttentionScalar(), c, d, 0, c.queries);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(scalar[i], expected[i], tolerance * (1 + std::fabs(expected[i])));
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    if (isa > Cpu().isa) continue;
    EXPECT_EQ(Attend(AttentionFor(isa), c, d, 0, c.queries), scalar) << IsaName(isa);
    std::vector<float> one_by_one;
    for (int64_t i = 0; i < c.queries; ++i)
      for (const float x : Attend(AttentionFor(isa), c, d, i, i + 1)) one_by_one.push_back(x);
    EXPECT_EQ(one_by_one, scalar) << IsaName(isa);
  }
}

TEST(Attention, MatchesSoftmaxOfDotProducts) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kE4M3, DType::kE5M2})
    for (const int64_t queries : {1, 4, 7, 40}) CheckAttention({.dtype = dtype, .queries = queries});
}

TEST(Attention, RowsOfCodesWithAScaleOfTheirOwn) {
  for (const DType dtype : {DType::kI8, DType::kE4M3})
    for (const int64_t queries : {1, 4, 7, 50}) {
      CheckAttention({.dtype = dtype, .queries = queries, .row_scale = true}, 1e-4);
      CheckAttention({.dtype = dtype, .queries = queries, .window = 100, .row_scale = true}, 1e-4);
    }
}

TEST(Attention, LengthsAndWidths) {
  for (const int64_t positions : {1, 2, 31, 33, 64, 255, 256, 257, 700}) CheckAttention({.positions = positions, .queries = 1});
  for (const int64_t dim : {1, 8, 16, 24, 80, 192})
    CheckAttention({.dtype = DType::kBF16, .dim = dim, .v_dim = 200 - dim, .queries = 2});
}

TEST(Attention, Windows) {
  for (const int64_t window : {1, 5, 32, 100, 300}) CheckAttention({.dtype = DType::kBF16, .queries = 20, .window = window});
}

// A sink takes its share of the softmax and adds nothing; a slope lowers a score by the distance to the query; a cap bounds it.
TEST(Attention, SinksSlopesCapsAndScales) {
  const float sink = 0.7f, large = 30;
  CheckAttention({.sink = &sink});
  CheckAttention({.sink = &large});
  CheckAttention({.slopes = {0.25f, 0.5f, 0.01f}});
  CheckAttention({.softcap = 1.5f});
  CheckAttention({.softcap = 1.5f, .sink = &sink, .slopes = {0.25f, 0.5f, 0.01f}});
  CheckAttention({.dtype = DType::kE4M3, .scale = 0.02f, .v_scale = 0.5f});
}

// Scores far apart from stretch to stretch: the largest decides nearly alone. Their rounding, 2^-24 of 400, is that of exp's
// argument.
TEST(Attention, LargeScores) { CheckAttention({.scale = 40}, 1e-3); }

}  // namespace
}  // namespace nibble
