// SPDX-License-Identifier: Apache-2.0
#include "methods/kv_scales.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/log.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// compressed-tensors and FP8 files; ModelOpt; Quark, which quantizes the outputs of the projections.
struct KvScaleNames {
  std::array<std::string_view, 3> scale;
  std::string_view zero, bias;
};
constexpr KvScaleNames kKey = {{"k_scale", "k_proj.k_scale", "k_proj.output_scale"}, "k_zero_point", "k_proj.k_bias"},
                       kValue = {{"v_scale", "v_proj.v_scale", "v_proj.output_scale"}, "v_zero_point", "v_proj.v_bias"};

Result<std::vector<float>> Values(const BoundParams& params, std::string_view name) {
  const TensorView& view = params.View(name);
  if (!view.contiguous()) return Corrupt("{} is not contiguous", ParamName(params, name));
  std::vector<float> values(static_cast<size_t>(view.elems()));
  if (view.dtype == DType::kI8)
    std::transform(view.data, view.data + view.elems(), values.begin(),
                   [](std::byte code) { return static_cast<float>(static_cast<int8_t>(code)); });
  else
    ConvertToF32(view.dtype, view.data, view.elems(), values.data());
  return values;
}

class KvScales : public KvCacheMethod {
 public:
  explicit KvScales(std::optional<KvFormats> formats) : formats_(formats) {}

  std::optional<KvFormats> formats() const override { return formats_; }

  std::vector<ParamDecl> CreateWeights(std::string_view) const override {
    const std::vector<DType> floats = {DType::kF32, DType::kF16, DType::kBF16};
    const std::vector<DType> zeros = {DType::kI8, DType::kE4M3, DType::kF32, DType::kBF16, DType::kF16};
    std::vector<ParamDecl> params;
    for (const KvScaleNames& names : {kKey, kValue}) {
      for (const std::string_view name : names.scale) params.push_back({name, floats, ParamDecl::kTensorScale, false});
      params.push_back({names.bias, floats, ParamDecl::kMeta, false});
      params.push_back({names.zero, zeros, ParamDecl::kMeta, false});
    }
    for (const std::string_view name : {"q_scale", "prob_scale", "q_proj.output_scale"})
      params.push_back({name, floats, ParamDecl::kMeta, false});
    params.push_back({"q_zero_point", zeros, ParamDecl::kMeta, false});
    return params;
  }

  Result<KvRules> ProcessWeightsAfterLoading(const BoundParams& params) const override {
    KvRules rules;
    NIBBLE_TRY(rules.k, Rule(params, kKey));
    NIBBLE_TRY(rules.v, Rule(params, kValue));
    return rules;
  }

 private:
  Result<KvRule> Rule(const BoundParams& params, const KvScaleNames& names) const {
    KvRule rule;
    const auto found =
        std::find_if(names.scale.begin(), names.scale.end(), [&](std::string_view name) { return params.Find(name); });
    if (found == names.scale.end()) {
      if (formats_) Warn("{}: no {}: the cache uses scale 1", params.name, names.scale[0]);
    } else {
      NIBBLE_TRY(rule.scale, Values(params, *found));
      for (float& scale : rule.scale) {
        if (std::isfinite(scale) && scale > 0) continue;
        Warn("{} is {}: the cache uses scale 1", ParamName(params, *found), scale);
        scale = 1;
      }
    }
    if (params.Find(names.bias)) {
      NIBBLE_TRY(rule.bias, Values(params, names.bias));
    } else if (params.Find(names.zero)) {
      NIBBLE_RETURN_IF_ERROR(SetZeroPoint(params, names.zero, &rule));
    }
    return rule;
  }

  // x = (code - zero) * scale, so the bias is -zero * scale.
  static Status SetZeroPoint(const BoundParams& params, std::string_view name, KvRule* rule) {
    NIBBLE_TRY(const std::vector<float> zeros, Values(params, name));
    if (std::all_of(zeros.begin(), zeros.end(), [](float zero) { return zero == 0; })) return {};
    if (zeros.size() != rule->scale.size())
      return Corrupt("{} has {} elements, the scale {}", ParamName(params, name), zeros.size(), rule->scale.size());
    for (size_t i = 0; i < zeros.size(); ++i) rule->bias.push_back(-zeros[i] * rule->scale[i]);
    return {};
  }

  std::optional<KvFormats> formats_;
};

}  // namespace

std::shared_ptr<const KvCacheMethod> MakeKvScales(std::optional<KvFormats> formats) {
  return std::make_shared<const KvScales>(formats);
}

}  // namespace nibble
