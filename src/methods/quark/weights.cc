// SPDX-License-Identifier: Apache-2.0
#include "methods/quark/weights.h"

#include <array>
#include <cmath>

#include "formats/packing/awq.h"
#include "formats/packing/bit_stream.h"
#include "formats/packing/bytes.h"
#include "methods/block_float_weight.h"
#include "methods/fp8_weight.h"
#include "methods/int4_weight.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// Integer weights of one grain. Groups lie along k; their tensors are stored turned, columns of W first.
struct Ints {
  const QuarkSpec& spec;
  bool reorder;
  std::string_view scale = "weight_scale", zero = "weight_zero_point";

  bool turned() const { return spec.scheme == QuarkSpec::kPerGroup; }
  int64_t groups(int64_t k) const { return turned() ? CeilDiv(k, spec.group) : 1; }
};

BoundParams WithIntShape(const BoundParams& bound, const Ints& ints) {
  const int64_t num = ints.spec.bits == 4 ? 8 : ints.spec.bits == 3 ? 8 : 1, den = ints.spec.bits == 3 ? 3 : 1;
  const bool swapped = ints.turned() && ints.spec.bits != 3;
  return WithStoredShape(bound, {.suffix = "weight", .column_num = num, .column_den = den, .swapped = swapped});
}

// The codes as stored: two's complement where signed.
Result<CodeSource> IntCodes(const BoundParams& params, const Ints& ints) {
  const int bits = ints.spec.bits;
  const int64_t n = params.n, k = params.k;
  if (bits == 3) {
    NIBBLE_TRY(const TensorView bytes, RequireParam(params, "weight", {n, k / 8 * 3}));
    return DenseStream(bytes, 3, StreamAxis::kAlongK);
  }
  if (bits != 4) {  // a byte a code
    NIBBLE_TRY(const TensorView bytes,
               ints.turned() ? RequireParam(params, "weight", {k, n}) : RequireParam(params, "weight", {n, k}));
    return ByteCodes(ints.turned() ? bytes.Transpose(0, 1) : bytes, bits, ints.spec.is_signed ? 1 << (bits - 1) : 0);
  }
  if (ints.turned()) {
    NIBBLE_TRY(const TensorView words, RequireParam(params, "weight", {k, CeilDiv(n, 8)}));
    return ints.reorder ? AwqGemm(words) : DenseStream(words, 4, StreamAxis::kAlongN);
  }
  NIBBLE_TRY(const TensorView words, RequireParam(params, "weight", {n, CeilDiv(k, 8)}));
  return ints.reorder ? AwqRows(words) : DenseStream(words, 4, StreamAxis::kAlongK);
}

Result<Plane> IntScale(const BoundParams& params, const Ints& ints) {
  if (!ints.turned()) return ScalePlane(params, ints.scale, 1, 0);
  const int64_t groups = ints.groups(params.k);
  NIBBLE_TRY(const TensorView stored, RequireRank(params, ints.scale, 2));
  const bool plain = stored.dim(0) == params.n && stored.dim(1) == groups;  // before 1.0, and where both agree it is square
  if (!plain || params.n == groups) {
    NIBBLE_RETURN_IF_ERROR(RequireParam(params, ints.scale, {groups, params.n}));
    return Plane{.data = stored.Transpose(0, 1), .block_k = ints.spec.group};
  }
  return Plane{.data = stored, .block_k = ints.spec.group};
}

bool AllValuesZero(const TensorView& view) {
  for (int64_t i = 0; i < view.elems(); ++i)
    if (LoadScalar(view.dtype, view.data, i) != 0) return false;
  return true;
}

// Zero points of unsigned codes, packed as the codes are; of int8 as bytes. Absent, or zero: none.
Result<std::optional<Plane>> IntZeros(const BoundParams& params, const Ints& ints, const Plane& scale) {
  TensorView stored = params.View(ints.zero);
  if (!stored || !stored.contiguous() || (ints.spec.is_signed && AllValuesZero(stored))) return std::optional<Plane>();
  if (ints.spec.is_signed && ints.spec.bits != 8)
    return Unsupported("{}: zero points of signed integers of {} bits", ParamName(params, ints.zero), ints.spec.bits);
  const int64_t groups = ints.groups(params.k);
  Plane zero{.block_n = scale.block_n, .block_k = scale.block_k};
  if (ints.spec.bits == 4) {
    const int64_t words = CeilDiv(params.n, 8);
    if (stored.elems() == 1 && scale.block_n == 0) {
      zero.packed = DenseStream(stored.Reshape({1, 1}), 4, StreamAxis::kAlongK);
      return std::optional(zero);
    }
    if (stored.elems() != groups * words)
      return Corrupt("{} is {}, wanted [{},{}]", ParamName(params, ints.zero), stored.shape.ToString(), groups, words);
    stored = stored.Reshape({groups, words});
    zero.packed = ints.reorder ? AwqGemm(stored) : DenseStream(stored, 4, StreamAxis::kAlongN);
    return std::optional(zero);
  }
  const int64_t rows = scale.block_n == 0 ? 1 : params.n;
  if (stored.elems() != groups * rows || DTypeBytes(stored.dtype) != 1)
    return Corrupt("{} is {} {}, wanted {} bytes", ParamName(params, ints.zero), DTypeName(stored.dtype), stored.shape.ToString(),
                   groups * rows);
  stored = stored.Reshape({groups, rows}).Transpose(0, 1);
  zero.packed = ByteCodes(stored, ints.spec.bits, ints.spec.is_signed ? 1 << (ints.spec.bits - 1) : 0);
  return std::optional(zero);
}

// Two's complement values of 3 or 4 bits.
TensorView SignedValues(int bits) {
  static constexpr float kThree[8] = {0, 1, 2, 3, -4, -3, -2, -1};
  return bits == 3 ? TensorView(kThree, DType::kF32, {8}) : SignedNibbleValues();
}

Result<StoredWeight> MakeQuarkInts(const BoundParams& bound, const Ints& ints) {
  const BoundParams params = WithIntShape(bound, ints);
  const bool table = ints.spec.is_signed && (ints.spec.bits == 3 || ints.spec.bits == 4);
  StoredWeight weight = StartWeight(params, table ? "table" : "int_group", "weight");
  Coded coded;
  NIBBLE_TRY(coded.codes, IntCodes(params, ints));
  NIBBLE_TRY(coded.scale, IntScale(params, ints));
  NIBBLE_TRY(coded.zero, IntZeros(params, ints, coded.scale));
  coded.zero_default = ints.spec.is_signed ? static_cast<float>(1 << (ints.spec.bits - 1)) : 0;
  if (table) {
    coded.rule = ValueRule::kTable;
    coded.table = SignedValues(ints.spec.bits);
  }
  weight.body = std::move(coded);
  return weight;
}

// Unsigned e5m3, bias 15, as the scale table of amdfp4: exponent 31 holds numbers too, except 255 (NaN).
TensorView E5m3Values() {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> table{};
    for (int code = 0; code < 256; ++code) {
      const int exponent = code >> 3, mantissa = code & 7;
      const auto m = static_cast<float>(mantissa);
      table[static_cast<size_t>(code)] = exponent == 0 ? std::ldexp(m, -17) : std::ldexp(8 + m, exponent - 18);
    }
    table[255] = std::nanf("");
    return table;
  }();
  return TensorView(values.data(), DType::kF32, {256});
}

Result<StoredWeight> MakeSmallFloats(const BoundParams& params, const QuarkSpecs& specs) {
  const QuarkSpec& spec = specs[0];
  const bool two_level = specs.size() == 2;
  BlockFloatLayout layout{.element = spec.element,
                          .group = spec.group,
                          .global = two_level ? "weight_scale_2" : "",
                          .e8m0 = spec.scale_format == "e8m0" || spec.scale_format == "e5m3"};
  NIBBLE_TRY(StoredWeight weight, MakeBlockFloatWeight(params, layout));
  if (spec.scale_format == "e5m3") {
    Plane& scale = std::get<Coded>(weight.body).scale;
    scale.data.dtype = DType::kU8;
    scale.table = E5m3Values();
  }
  return weight;
}

Result<StoredWeight> MakeFp8(const BoundParams& params, const QuarkSpec& spec) {
  if (spec.scheme == QuarkSpec::kPerGroup) {
    if (spec.scale_format == "e8m0")
      return MakeBlockFloatWeight(params, {.element = spec.element, .group = spec.group, .e8m0 = true});
    return MakeFp8Weight(params, {.block_n = 1, .block_k = spec.group});
  }
  const bool inv = params.Find("weight_scale_inv") != nullptr;
  return MakeFp8Weight(
      params, {.block_n = spec.block_n, .block_k = spec.block_k, .scale_suffix = inv ? "weight_scale_inv" : "weight_scale"});
}

}  // namespace

Result<StoredWeight> MakeQuarkWeight(const BoundParams& params, const QuarkSpecs& specs, bool reorder) {
  const QuarkSpec& first = specs[0];
  if (specs.size() == 2 && first.element == DType::kE4M3 && specs[1].element == DType::kI8) {
    // Integers of FP8 numbers that have a scale of their own: W = (code * weight_scale_2) * weight_scale.
    NIBBLE_TRY(StoredWeight weight, MakeQuarkInts(params, {specs[1], reorder, "weight_scale_2", "weight_zero_point_2"}));
    Coded& coded = std::get<Coded>(weight.body);
    NIBBLE_TRY(coded.scale2, ScalePlane(params, "weight_scale", 1, 0));
    coded.scale2_last = true;
    return weight;
  }
  if (first.element == DType::kI8) return MakeQuarkInts(params, {first, reorder});
  if (first.element == DType::kE4M3 || first.element == DType::kE5M2) return MakeFp8(params, first);
  if (first.scheme == QuarkSpec::kPerGroup) return MakeSmallFloats(params, specs);
  return Unsupported("{}: {} weights that are not quantized by groups", params.name, DTypeName(first.element));
}

Result<ActivationSpec> MakeQuarkActivations(const BoundParams& params, const QuarkSpecs& specs, const char* side) {
  const std::string scale = fmt::format("{}_scale", side), zero = fmt::format("{}_zero_point", side), second = scale + "_2";
  ActivationSpec act;
  if (specs.empty() || specs[0].element == DType::kNone) return act;
  const QuarkSpec& spec = specs[0];
  act.rule = ActivationSpec::kQuark;
  act.code = spec.element;
  act.bits = spec.bits;
  act.symmetric = spec.symmetric || spec.element != DType::kI8;
  act.dynamic = spec.dynamic;
  switch (spec.scheme) {
    case QuarkSpec::kPerTensor: act.grain = ActivationSpec::kTensor; break;
    case QuarkSpec::kPerChannel: act.grain = ActivationSpec::kToken; break;
    case QuarkSpec::kPerGroup:
    case QuarkSpec::kPerBlock:
      act.grain = ActivationSpec::kGroup;
      act.group = static_cast<int>(spec.scheme == QuarkSpec::kPerGroup ? spec.group : spec.block_k);
  }
  if (spec.scale_format == "e8m0") act.scale_code = spec.mode;
  if (spec.scale_format == "e5m3") act.scale_code = ActivationSpec::kE5M3;
  if (spec.scale_format == "e4m3" && specs.size() == 1)
    return Unsupported("{}: {} scales as e4m3 parts of the largest of the whole batch; choose scale_format e8m0, e5m3 or float32",
                       params.name, side);
  if (specs.size() == 2) {
    act.scale_code = ActivationSpec::kE4M3;
    NIBBLE_TRY(act.global, ScalarParam(params, second));
  }
  if (!act.dynamic) {
    NIBBLE_TRY(act.scale, ScalarParam(params, scale));
    if (params.Find(zero)) {
      NIBBLE_TRY(act.zero, ScalarParam(params, zero));
    }
    if (!spec.is_signed) act.zero -= static_cast<float>(1 << (spec.bits - 1));  // our codes are signed
  }
  if (IsRunnable(act)) return act;
  return Unsupported("{}: activations of {} with scale {} and global scale {}", params.name, DTypeName(act.code), act.scale,
                     act.global);
}

}  // namespace nibble
