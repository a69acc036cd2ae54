// SPDX-License-Identifier: Apache-2.0
#include "formats/dense_rows.h"

#include <algorithm>

#include "formats/transform.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

StoredWeight Own(std::vector<float> numbers, int64_t n, int64_t k, const Origin& origin) {
  auto values = std::make_shared<std::vector<float>>(std::move(numbers));
  const TensorView view(values->data(), DType::kF32, {n, k});
  return MakeDense(view, origin, std::move(values));
}

std::vector<float> DecodeRange(const StoredWeight& w, Range rows) {
  std::vector<float> values(static_cast<size_t>(rows.size() * w.k));
  DecodeRows(w, rows, {0, w.k}, values.data());
  return values;
}

Origin OriginOf(const StoredWeight& weight, Range rows) {
  Origin origin = weight.origin;
  origin.slice += fmt::format("rows [{},{})", rows.begin, rows.end);
  return origin;
}

double Dot(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

std::vector<float> Floats(const TensorView& view) {
  std::vector<float> values;
  for (int64_t i = 0; i < view.dim(0); ++i)
    for (int64_t j = 0; j < view.dim(1); ++j)
      values.push_back(LoadScalar(view.dtype, view.data, i * view.stride[0] + j * view.stride[1]));
  return values;
}

}  // namespace

Result<StoredWeight> MultiplyIn(const StoredWeight& w) {
  if (w.in.empty() && w.out.empty() && !w.lora_a) return w;
  const std::vector<float> rows = DecodeRange(w, {0, w.n});
  const int64_t rank = w.lora_a ? w.lora_a.dim(0) : 0;
  const std::vector<float> a = rank > 0 ? Floats(w.lora_a) : std::vector<float>(), b = rank > 0 ? Floats(w.lora_b) : a;
  std::vector<float> result(rows.size()), x(static_cast<size_t>(w.k)), y(static_cast<size_t>(w.n)), low(static_cast<size_t>(rank));
  std::vector<float> scratch(static_cast<size_t>(std::max(w.n, w.k)));
  for (int64_t column = 0; column < w.k; ++column) {  // y of each column of the identity
    std::fill(x.begin(), x.end(), 0.0f);
    x[static_cast<size_t>(column)] = 1;
    NIBBLE_RETURN_IF_ERROR(ApplyTransforms(w.in, x.data(), w.k, scratch.data()));
    for (int64_t n = 0; n < w.n; ++n) y[static_cast<size_t>(n)] = static_cast<float>(Dot(rows.data() + n * w.k, x.data(), w.k));
    NIBBLE_RETURN_IF_ERROR(ApplyTransforms(w.out, y.data(), w.n, scratch.data()));
    for (int64_t r = 0; r < rank; ++r) low[static_cast<size_t>(r)] = static_cast<float>(Dot(a.data() + r * w.k, x.data(), w.k));
    for (int64_t n = 0; n < w.n; ++n)
      result[static_cast<size_t>(n * w.k + column)] =
          y[static_cast<size_t>(n)] + static_cast<float>(Dot(b.data() + n * rank, low.data(), rank));
  }
  return Own(std::move(result), w.n, w.k, w.origin);
}

Result<StoredWeight> CutRows(const StoredWeight& weight, Range rows) {
  auto cut = Slice(weight, rows, {0, weight.k});
  if (cut || cut.error().code != Code::kUnsupported) return cut;
  return Own(DecodeRange(weight, rows), rows.size(), weight.k, OriginOf(weight, rows));
}

StoredWeight TransposedRows(const StoredWeight& weight, Range rows) {
  const std::vector<float> values = DecodeRange(weight, rows);
  std::vector<float> turned(values.size());
  for (int64_t row = 0; row < rows.size(); ++row)
    for (int64_t k = 0; k < weight.k; ++k)
      turned[static_cast<size_t>(k * rows.size() + row)] = values[static_cast<size_t>(row * weight.k + k)];
  return Own(std::move(turned), weight.k, rows.size(), OriginOf(weight, rows));
}

}  // namespace nibble
