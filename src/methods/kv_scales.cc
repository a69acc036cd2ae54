// SPDX-License-Identifier: Apache-2.0
#include "methods/kv_scales.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/log.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

class KvScales : public KvCacheMethod {
 public:
  explicit KvScales(DType format) : format_(format) {}

  std::vector<ParamDecl> CreateWeights(std::string_view) const override {
    const std::vector<DType> floats = {DType::kF32, DType::kF16, DType::kBF16};
    const std::vector<DType> zeros = {DType::kI8, DType::kE4M3, DType::kF32, DType::kBF16, DType::kF16};
    std::vector<ParamDecl> params;
    for (const auto& names : {kNames[0], kNames[1]})
      for (const std::string_view name : names) params.push_back({name, floats, ParamDecl::kTensorScale, false});
    for (const std::string_view name : {"q_scale", "prob_scale", "q_proj.output_scale", "k_proj.k_bias", "v_proj.v_bias"})
      params.push_back({name, floats, ParamDecl::kMeta, false});
    for (const std::string_view name : {"k_zero_point", "v_zero_point", "q_zero_point"})
      params.push_back({name, zeros, ParamDecl::kMeta, false});
    return params;
  }

  Result<Scales> ProcessWeightsAfterLoading(const BoundParams& params) const override {
    Scales scales{.format = format_};
    float* values[] = {&scales.k_scale, &scales.v_scale};
    for (const size_t i : {0, 1}) {
      const auto found = std::find_if(kNames[i].begin(), kNames[i].end(), [&](std::string_view name) { return params.Find(name); });
      if (found == kNames[i].end()) {
        if (format_ != DType::kNone) Warn("{}: no {}: the cache uses scale 1", params.name, kNames[i][0]);
        continue;
      }
      if (params.View(*found).elems() != 1) {
        Warn("{} is {}: scales by attention head are not used; the cache keeps its own format", ParamName(params, *found),
             params.View(*found).shape.ToString());
        return Scales{};
      }
      NIBBLE_TRY(const float scale, ScalarParam(params, *found));
      if (std::isfinite(scale) && scale > 0)
        *values[i] = scale;
      else
        Warn("{} is {}: the cache uses scale 1", ParamName(params, *found), scale);
    }
    return scales;
  }

 private:
  // compressed-tensors and FP8 files; ModelOpt; Quark, which quantizes the outputs of the projections.
  static constexpr std::array<std::string_view, 3> kNames[2] = {{"k_scale", "k_proj.k_scale", "k_proj.output_scale"},
                                                                {"v_scale", "v_proj.v_scale", "v_proj.output_scale"}};
  DType format_;
};

}  // namespace

std::shared_ptr<const KvCacheMethod> MakeKvScales(DType format) { return std::make_shared<const KvScales>(format); }

}  // namespace nibble
