// SPDX-License-Identifier: Apache-2.0
// The method of checkpoints without quantization, and of layers that other methods leave alone: "<module>.weight" f32, f16 or bf16.
#include "methods/param_checks.h"
#include "methods/registry.h"

namespace nibble {
namespace {

class UnquantizedLinearMethod : public LinearMethod {
 public:
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"weight", {DType::kF32, DType::kF16, DType::kBF16}, ParamDecl::kWeight, true}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    const BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
    NIBBLE_TRY(const TensorView view, RequireParam(params, "weight", {params.n, params.k}));
    return FinishPart(MakeDense(view, params.origin("weight"), params.Keep("weight")));
  }
};

// Unlike other methods it answers for every layer: null would mean "unquantized".
class UnquantizedConfig : public QuantizationConfig {
 public:
  std::string_view name() const override { return "unquantized"; }
  std::string Describe() const override { return "unquantized"; }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery&) const override {
    return std::make_shared<const UnquantizedLinearMethod>();
  }
};

Result<std::unique_ptr<QuantizationConfig>> UnquantizedFromConfig(const Json&, const ConfigSource&) {
  return std::make_unique<UnquantizedConfig>();
}

}  // namespace

const QuantizationEntry* unquantized_method() {
  static const QuantizationEntry entry = {.name = "unquantized",
                                          .quant_methods = {"unquantized"},
                                          .summary = "float weights as stored: f32, f16, bf16",
                                          .formats = {"dense"},
                                          .makes = {"dense"},
                                          .checked = {"transformers 5.17.0"},
                                          .from_config = UnquantizedFromConfig};
  return &entry;
}

}  // namespace nibble
