// SPDX-License-Identifier: Apache-2.0
// The reference kernel: decode rows by the format's own definition, then multiply in the documented sum order. Accepts every
// format, runs on the file's bytes, and is what every other kernel is tested against.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/linear.h"

namespace nibble {
namespace {

Support Anything(const StoredWeight&) { return {}; }
int64_t NoBytes(const StoredWeight&) { return 0; }
Status NothingToPack(const StoredWeight&, Range, std::byte*) { return {}; }
std::shared_ptr<const void> NoState(const StoredWeight&) { return nullptr; }

const LayoutRow kStored = {"stored", 1, Anything, NoBytes, NothingToPack, NoState};

float Dot(const float* w, const float* x, int64_t k) {
  float total = 0;
  for (int64_t begin = 0; begin < k; begin += kBlockK) {
    const int64_t end = std::min(begin + kBlockK, k);
    float sum = 0;
    for (int64_t i = begin; i < end; ++i) sum = std::fma(w[i], x[i], sum);
    total = begin == 0 ? sum : total + sum;
  }
  return total;
}

void Run(const Segment& segment, Range strips, const LinearArgs& args, std::byte*) {
  std::vector<float> row(static_cast<size_t>(segment.k));
  const Range rows{strips.begin * kStripRows, std::min(strips.end * kStripRows, segment.n)};
  for (int64_t n = rows.begin; n < rows.end; ++n) {
    DecodeRows(*segment.weight, {n, n + 1}, {0, segment.k}, row.data());
    for (int64_t m = 0; m < args.m; ++m) {
      const float y = Dot(row.data(), args.x + m * args.x_stride, segment.k);
      args.y[m * args.y_stride + segment.n_begin + n] = segment.bias.empty() ? y : y + segment.bias[static_cast<size_t>(n)];
    }
  }
}

}  // namespace

const KernelFamily& ReferenceFamily() {
  static const LayoutRow* const layouts[] = {&kStored};
  static const KernelRow rows[] = {{"ref", &kStored, Isa::kScalar, 1, INT64_MAX, kSumOrderBlocked, 100.0, XForm::kF32, Run}};
  static const KernelFamily family = {"ref", layouts, rows};
  return family;
}

}  // namespace nibble
