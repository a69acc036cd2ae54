// SPDX-License-Identifier: Apache-2.0
// Round to nearest: every weight becomes the code nearest to it, scales by the largest weight or by search.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "formats/packing/bytes.h"
#include "quantizers/quantizer.h"
#include "formats/integer_fit.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// Codes, scales and zero points under construction. Workers write disjoint rows.
struct Rounded {
  Tensor codes, scales, zeros;  // u8 [n,k]; scale dtype [rows of blocks, groups]; u8 of the same shape
};

// Index of the first weight of the rows that is not finite, or -1.
int64_t FirstBad(const RoundRequest& request, Range rows) {
  const float* begin = request.w + rows.begin * request.k;
  const float* end = request.w + rows.end * request.k;
  const float* bad = std::find_if_not(begin, end, [](float x) { return std::isfinite(x); });
  return bad == end ? -1 : bad - request.w;
}

void RoundIntegers(const RoundRequest& request, Range rows, Rounded* out) {
  const WeightScheme& scheme = request.scheme;
  const int64_t group = scheme.SharedColumns(request.k), groups = request.k / group;
  const IntegerFitOptions options{scheme.bits, scheme.symmetric, request.options.scale_search, request.options.scale_dtype};
  const float* importance = request.statistics.importance.empty() ? nullptr : request.statistics.importance.data();
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      const float* w = request.w + row * request.k + g * group;
      const IntegerFit fit = FitIntegers(w, importance ? importance + g * group : nullptr, group, options);
      EncodeIntegers(w, group, scheme.bits, fit, out->codes.as<uint8_t>() + row * request.k + g * group);
      StoreScalar(request.options.scale_dtype, out->scales.bytes->data(), row * groups + g, fit.scale);
      if (out->zeros.view) out->zeros.as<uint8_t>()[row * groups + g] = static_cast<uint8_t>(fit.zero);
    }
  }
}

// One block of e4m3 codes. No search: the error of a float code is relative, so a smaller scale gains nothing.
void RoundFloatBlock(const RoundRequest& request, Range rows, Range columns, int64_t scale_index, Rounded* out) {
  float largest = 0;
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t k = columns.begin; k < columns.end; ++k) largest = std::max(largest, std::fabs(request.w[row * request.k + k]));
  const DType dtype = request.options.scale_dtype;
  const float scale = largest == 0 ? ScaleOfZeros(dtype) : RoundScale(dtype, largest / 448.0f);
  StoreScalar(dtype, out->scales.bytes->data(), scale_index, scale);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t k = columns.begin; k < columns.end; ++k)
      out->codes.as<uint8_t>()[row * request.k + k] = EncodeSmallFloat(DType::kE4M3, request.w[row * request.k + k] / scale);
}

void RoundFloats(const RoundRequest& request, Range rows, Rounded* out) {
  const int64_t block_n = request.scheme.SharedRows(), block_k = request.scheme.SharedColumns(request.k),
                groups = CeilDiv(request.k, block_k);
  for (int64_t row = rows.begin; row < rows.end; row += block_n)
    for (int64_t g = 0; g < groups; ++g)
      RoundFloatBlock(request, {row, std::min(row + block_n, rows.end)}, {g * block_k, std::min((g + 1) * block_k, request.k)},
                      row / block_n * groups + g, out);
}

StoredWeight Finish(const RoundRequest& request, const Rounded& rounded) {
  const WeightScheme& scheme = request.scheme;
  StoredWeight weight;
  weight.format = FindFormat(scheme.is_float ? "fp8" : "int_group");
  weight.n = request.n;
  weight.k = request.k;
  weight.origin.tensor = request.name;
  Coded coded;
  coded.codes = ByteCodes(rounded.codes.view, scheme.bits, 0);
  coded.rule = scheme.is_float ? ValueRule::kFloat : ValueRule::kIntMinusZero;
  if (scheme.is_float)
    coded.float_type = DType::kE4M3;
  else
    coded.zero_default = static_cast<float>(1 << (scheme.bits - 1));
  coded.scale = {.data = rounded.scales.view,
                 .block_n = scheme.SharedRows(),
                 .block_k = scheme.grain == WeightScheme::kChannel ? 0 : scheme.SharedColumns(request.k)};
  weight.keep = {rounded.codes.bytes, rounded.scales.bytes};
  if (rounded.zeros.view) {
    coded.zero = Plane{
        .block_n = coded.scale.block_n, .block_k = coded.scale.block_k, .packed = ByteCodes(rounded.zeros.view, scheme.bits, 0)};
    weight.keep.push_back(rounded.zeros.bytes);
  }
  weight.body = std::move(coded);
  return weight;
}

Status CheckRequest(const RoundRequest& request) {
  const WeightScheme& scheme = request.scheme;
  const auto no = [&](const char* what) { return Unsupported("{}: {}", request.name, what); };
  if (scheme.is_float ? scheme.bits != 8 : scheme.bits < 2 || scheme.bits > 8)
    return no("rtn makes integers of 2 to 8 bits and e4m3");
  if (!scheme.is_float && scheme.grain == WeightScheme::kBlock)
    return no("rtn makes integers with scales for rows or groups, not blocks");
  if (request.n < 1 || request.k < 1) return no("an empty matrix");
  if (scheme.grain == WeightScheme::kGroup && (scheme.group < 1 || request.k % scheme.group != 0))
    return Usage("{}: groups of {} do not divide rows of {}", request.name, scheme.group, request.k);
  if (!request.statistics.importance.empty() && static_cast<int64_t>(request.statistics.importance.size()) != request.k)
    return Usage("{}: {} importances for rows of {}", request.name, request.statistics.importance.size(), request.k);
  return {};
}

Result<StoredWeight> Round(const RoundRequest& request) {
  NIBBLE_RETURN_IF_ERROR(CheckRequest(request));
  const WeightScheme& scheme = request.scheme;
  const int64_t scale_rows = CeilDiv(request.n, scheme.SharedRows()), groups = CeilDiv(request.k, scheme.SharedColumns(request.k));
  Rounded rounded;
  rounded.codes = Tensor(DType::kU8, {request.n, request.k});
  rounded.scales = Tensor(request.options.scale_dtype, {scale_rows, groups});
  if (!scheme.symmetric) rounded.zeros = Tensor(DType::kU8, {scale_rows, groups});
  std::vector<int64_t> bad(static_cast<size_t>(request.team->size()), -1);
  request.team->Run([&](int worker) {
    const Range rows = SplitRange(request.n, worker, request.team->size(), scheme.SharedRows());
    bad[static_cast<size_t>(worker)] = FirstBad(request, rows);
    if (bad[static_cast<size_t>(worker)] >= 0) return;
    (scheme.is_float ? RoundFloats : RoundIntegers)(request, rows, &rounded);
  });
  for (const int64_t index : bad)
    if (index >= 0)
      return Corrupt(
          "{}: the weight at row {}, column {} is {}; only finite weights can be quantized (--ignore leaves the module as it is)",
          request.name, index / request.k, index % request.k, request.w[index]);
  return Finish(request, rounded);
}

}  // namespace

const Quantizer* rtn_quantizer() {
  static const Quantizer quantizer = {.name = "rtn", .summary = "round to nearest, scales by least squared error", .round = Round};
  return &quantizer;
}

}  // namespace nibble
