// SPDX-License-Identifier: Apache-2.0
// The reference kernel: decode rows by the format's own definition, then multiply in the documented sum order. Accepts every
// format, runs on the file's bytes, and is what every other kernel is tested against.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "formats/plane.h"
#include "kernels/linear.h"

namespace nibble {
namespace {

Support Anything(const StoredWeight&) { return {}; }
int64_t NoBytes(const StoredWeight&) { return 0; }
Status NothingToPack(const StoredWeight&, Range, std::byte*) { return {}; }
std::shared_ptr<const void> NoState(const StoredWeight&) { return nullptr; }

const LayoutRow kStored = {"stored", 1, Anything, NoBytes, NothingToPack, NoState};

// A block of columns' chain of fused multiply-adds.
float BlockSum(const float* w, const float* x, Range k) {
  float sum = 0;
  for (int64_t i = k.begin; i < k.end; ++i) sum = std::fma(w[i], x[i], sum);
  return sum;
}

// scales: one a column, of which that of a block's first column counts; null: w has them in it.
float Dot(const float* w, const float* scales, const float* x, int64_t k) {
  float total = 0;
  for (int64_t begin = 0; begin < k; begin += kBlockK) {
    const float sum = BlockSum(w, x, {begin, std::min(begin + kBlockK, k)});
    const float scaled = scales ? sum * scales[begin] : sum;
    total = begin == 0 ? scaled : total + scaled;
  }
  return total;
}

// The weight with all its scales 1.
StoredWeight Unscaled(const StoredWeight& weight) {
  static const float kOne = 1;
  StoredWeight unscaled = weight;
  auto& coded = std::get<Coded>(unscaled.body);
  coded.scale = {.data = TensorView(reinterpret_cast<const std::byte*>(&kOne), DType::kF32, {1, 1}), .block_n = 0};
  coded.scale2.reset();
  return unscaled;
}

void Run(const Segment& segment, Range strips, const LinearArgs& args, std::byte*) {
  const StoredWeight& weight = *segment.weight;
  const auto* coded = std::get_if<Coded>(&weight.body);
  const bool scales_sums = coded && ScalesBlockSums(*coded, segment.k);
  const std::optional<StoredWeight> unscaled = scales_sums ? std::optional(Unscaled(weight)) : std::nullopt;
  std::vector<float> row(static_cast<size_t>(segment.k)), scales(scales_sums ? row.size() : 0);
  const Range rows{strips.begin * kStripRows, std::min(strips.end * kStripRows, segment.n)};
  for (int64_t n = rows.begin; n < rows.end; ++n) {
    DecodeRows(unscaled ? *unscaled : weight, {n, n + 1}, {0, segment.k}, row.data());
    if (scales_sums) ReadScales(*coded, BodyRow(weight, n), {0, segment.k}, scales.data());
    for (int64_t m = 0; m < args.m; ++m) {
      const float y = Dot(row.data(), scales_sums ? scales.data() : nullptr, args.x + m * args.x_stride, segment.k);
      args.y[m * args.y_stride + segment.n_begin + n] = segment.bias.empty() ? y : y + segment.bias[static_cast<size_t>(n)];
    }
  }
}

}  // namespace

const KernelFamily& ReferenceFamily() {
  static const LayoutRow* const layouts[] = {&kStored};
  static const KernelRow rows[] = {{"ref", &kStored, Isa::kScalar, 1, INT64_MAX, 100.0, XForm::kF32, Run}};
  static const KernelFamily family = {"ref", layouts, rows};
  return family;
}

}  // namespace nibble
