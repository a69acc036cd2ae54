// SPDX-License-Identifier: Apache-2.0
// A checkpoint method of our own: weights of -1, 0 and 1, five of them in a byte, and one f32 scale for each row.
//   weight_trits u8 [n, ceil(k / 5)]   byte = sum over i of 3^i (code(5 j + i) + 1)
//   weight_scale f32 [n]               W[n][k] = weight_scale[n] * code(n, k)
// All that nibble must be told is how the tensors are called and how rows decode; cutting over ranks, running, inspecting and
// converting then work as for any built-in method.
#include "methods/param_checks.h"
#include "methods/plugin.h"
#include "methods/registry.h"

namespace {

using namespace nibble;

struct Trits {
  TensorView bytes, scale;
};

void DecodeTrits(const void* state, Range n, Range k, float* out) {
  const Trits& trits = *static_cast<const Trits*>(state);
  for (int64_t row = n.begin; row < n.end; ++row) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(trits.bytes.Select(0, row).data);
    const float scale = trits.scale.as<float>()[row];
    for (int64_t column = k.begin; column < k.end; ++column) {
      int byte = bytes[column / 5];
      for (int64_t skip = column % 5; skip > 0; --skip) byte /= 3;
      *out++ = scale * static_cast<float>(byte % 3 - 1);
    }
  }
}
constexpr CustomCodec kTritCodec = {"my_quant trits", DecodeTrits, 1.6};

class TritMethod : public LinearMethod {
 public:
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"weight_trits", {DType::kU8}, ParamDecl::kPacked}, {"weight_scale", {DType::kF32}, ParamDecl::kChannelScale}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    const BoundParams params = WithStoredShape(bound, {.suffix = "weight_trits", .column_num = 5});
    auto trits = std::make_shared<Trits>();
    NIBBLE_TRY(trits->bytes, RequireParam(params, "weight_trits", {params.n, CeilDiv(params.k, 5)}));
    NIBBLE_TRY(trits->scale, RequireParam(params, "weight_scale", {params.n}));
    StoredWeight weight = StartWeight(params, "dense", "weight_trits");
    weight.body = Custom{.codec = &kTritCodec, .state = std::move(trits)};
    return FinishPart(std::move(weight));
  }
};

class MyQuantConfig : public QuantizationConfig {
 public:
  std::string_view name() const override { return "my_quant"; }
  std::string Describe() const override { return "my_quant trits"; }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind != LayerKind::kLinear && layer.kind != LayerKind::kExpert) return nullptr;
    if (layer.has && !layer.has("weight_trits")) return nullptr;
    return std::make_shared<const TritMethod>();
  }
  double EstimateBits(const LayerQuery& layer) const override { return layer.kind == LayerKind::kLinear ? 1.6 : 0; }
};

Result<std::unique_ptr<QuantizationConfig>> FromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, source.where, {"quant_method"}, {}));
  return std::make_unique<MyQuantConfig>();
}

Status Register() {
  return RegisterQuantizationConfig("my_quant", FromConfig, "ternary weights, five in a byte, a scale for each row");
}

}  // namespace

NIBBLE_PLUGIN(Register)
