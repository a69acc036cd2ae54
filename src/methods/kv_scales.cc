// SPDX-License-Identifier: Apache-2.0
#include "methods/kv_scales.h"

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
    return {{"k_scale", floats, ParamDecl::kTensorScale, false}, {"v_scale", floats, ParamDecl::kTensorScale, false},
            {"q_scale", floats, ParamDecl::kMeta, false},        {"prob_scale", floats, ParamDecl::kMeta, false},
            {"k_zero_point", zeros, ParamDecl::kMeta, false},    {"v_zero_point", zeros, ParamDecl::kMeta, false},
            {"q_zero_point", zeros, ParamDecl::kMeta, false}};
  }

  Result<Scales> ProcessWeightsAfterLoading(const BoundParams& params) const override {
    Scales scales{.format = format_};
    NIBBLE_TRY(scales.k_scale, Read(params, "k_scale"));
    NIBBLE_TRY(scales.v_scale, Read(params, "v_scale"));
    return scales;
  }

 private:
  static Result<float> Read(const BoundParams& params, std::string_view suffix) {
    if (!params.Find(suffix)) {
      Warn("{}: no {}: the cache uses scale 1", params.name, suffix);
      return 1.0f;
    }
    if (params.View(suffix).elems() != 1) {
      return Unsupported("{} is {}: scales by attention head are not read", ParamName(params, suffix),
                         params.View(suffix).shape.ToString());
    }
    NIBBLE_TRY(const float scale, ScalarParam(params, suffix));
    if (std::isfinite(scale) && scale > 0) return scale;
    Warn("{} is {}: the cache uses scale 1", ParamName(params, suffix), scale);
    return 1.0f;
  }

  DType format_;
};

}  // namespace

std::shared_ptr<const KvCacheMethod> MakeKvScales(DType format) { return std::make_shared<const KvScales>(format); }

}  // namespace nibble
