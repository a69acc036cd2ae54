// SPDX-License-Identifier: Apache-2.0
#include "methods/block_float_weight.h"

#include <cmath>

#include "base/check.h"
#include "formats/packing/bit_stream.h"
#include "formats/packing/bytes.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

BoundParams WithCodesShape(const BoundParams& bound, const BlockFloatLayout& layout) {
  return WithStoredShape(bound, {.suffix = layout.codes, .column_num = 8, .column_den = SmallFloatBits(layout.element)});
}

// What one-byte scales mean. e8m0 travels as u8, e4m3 too where a writer had no such dtype.
Result<DType> ScaleType(const BoundParams& params, const BlockFloatLayout& layout, DType stored) {
  if (stored == DType::kU8 || stored == DType::kI8) return layout.e8m0 ? DType::kE8M0 : DType::kE4M3;
  const bool plain = stored == DType::kF32 || stored == DType::kF16 || stored == DType::kBF16;
  if (plain || stored == (layout.e8m0 ? DType::kE8M0 : DType::kE4M3)) return stored;
  return Corrupt("{} is {}, wanted {}: the scales contradict the config", ParamName(params, layout.scale), DTypeName(stored),
                 layout.e8m0 ? "u8 or e8m0" : "e4m3");
}

Result<Plane> GroupScale(const BoundParams& params, const BlockFloatLayout& layout) {
  NIBBLE_TRY(TensorView scales, RequireRank(params, layout.scale, 2));
  const int64_t columns = scales.dim(1);
  if (columns < 1 || scales.dim(0) != params.n || (layout.group == 0 && params.k % columns != 0) ||
      (layout.group > 0 && columns != CeilDiv(params.k, layout.group))) {
    return Corrupt("{} is {}, wanted [{},{}] for a weight [{},{}]", ParamName(params, layout.scale), scales.shape.ToString(),
                   params.n, layout.group > 0 ? std::to_string(CeilDiv(params.k, layout.group)) : "a divisor of k", params.n,
                   params.k);
  }
  NIBBLE_TRY(scales.dtype, ScaleType(params, layout, scales.dtype));
  return Plane{.data = scales, .block_k = layout.group > 0 ? layout.group : params.k / columns};
}

// One number for the matrix. Zero or NaN would make every weight of it meaningless.
Result<Plane> GlobalScale(const BoundParams& params, const BlockFloatLayout& layout) {
  NIBBLE_TRY(const float value, ScalarParam(params, layout.global));
  if (!std::isfinite(value) || value == 0) {
    return Corrupt("{} is {}, wanted a finite number other than 0", ParamName(params, layout.global), value);
  }
  return Plane{.data = AsMatrix(params.View(layout.global)), .block_n = 0, .reciprocal = layout.global_divides};
}

}  // namespace

int SmallFloatBits(DType element) {
  if (element == DType::kE2M1) return 4;
  return element == DType::kE2M3 || element == DType::kE3M2 ? 6 : 8;
}

Result<Coded> MakeBlockFloatCodes(const BoundParams& bound, const BlockFloatLayout& layout) {
  const int bits = SmallFloatBits(layout.element);
  const BoundParams params = WithCodesShape(bound, layout);
  if (params.k * bits % 8 != 0) {
    return Corrupt("{}: {} columns of {} bits fill no whole bytes", ParamName(params, layout.codes), params.k, bits);
  }
  NIBBLE_TRY(const TensorView bytes, RequireParam(params, layout.codes, {params.n, params.k * bits / 8}));
  if (DTypeBytes(bytes.dtype) != 1) {
    return Corrupt("{} is {}, wanted bytes", ParamName(params, layout.codes), DTypeName(bytes.dtype));
  }
  Coded coded;
  coded.rule = ValueRule::kFloat;
  coded.float_type = layout.element;
  if (bits == 8) {
    coded.codes = ByteCodes(bytes, 8, 0);
    if (bytes.dtype == DType::kE4M3 || bytes.dtype == DType::kE5M2) coded.float_type = bytes.dtype;
  } else {
    coded.codes = DenseStream(bytes, bits, StreamAxis::kAlongK);
  }
  return coded;
}

Result<StoredWeight> MakeBlockFloatWeight(const BoundParams& bound, const BlockFloatLayout& layout) {
  const BoundParams params = WithCodesShape(bound, layout);
  StoredWeight weight = StartWeight(params, "block_float", layout.codes);
  NIBBLE_TRY(Coded coded, MakeBlockFloatCodes(params, layout));
  NIBBLE_TRY(coded.scale, GroupScale(params, layout));
  if (!layout.global.empty()) {
    NIBBLE_TRY(coded.scale2, GlobalScale(params, layout));
    coded.scale2_last = layout.global_first;
    if (layout.global_first) std::swap(coded.scale, *coded.scale2);
  }
  weight.body = std::move(coded);
  return weight;
}

}  // namespace nibble
