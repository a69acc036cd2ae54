// SPDX-License-Identifier: Apache-2.0
// experts_int8: plain checkpoints of mixtures of experts whose experts become int8, one scale a row, while they are loaded;
// everything else stays as it is, and so does x.
#include <algorithm>
#include <cmath>

#include "formats/packing/bytes.h"
#include "methods/param_checks.h"
#include "methods/registry.h"

namespace nibble {
namespace {

const std::vector<DType> kExpertFloats = {DType::kBF16, DType::kF16, DType::kF32};

// scale = max|w| / 127 of a row, code = clamp(rne(w / scale), -127, 127).
Result<LinearPart> QuantizeRows(const BoundParams& params, std::string_view suffix, const TensorView& view) {
  const StoredWeight plain = MakeDense(view, params.origin(suffix), params.Keep(suffix));
  Tensor codes(DType::kI8, {plain.n, plain.k}), scales(DType::kF32, {plain.n, 1});
  std::vector<float> row(static_cast<size_t>(plain.k));
  for (int64_t n = 0; n < plain.n; ++n) {
    DecodeRows(plain, {n, n + 1}, {0, plain.k}, row.data());
    float amax = 0;
    for (const float w : row) amax = std::max(amax, std::fabs(w));
    const bool finite = std::isfinite(amax) && std::none_of(row.begin(), row.end(), [](float w) { return std::isnan(w); });
    if (!finite) return Corrupt("{}: row {} holds a weight that is not finite", ParamName(params, suffix), n);
    const float scale = amax / 127;
    scales.as<float>()[n] = scale;
    for (int64_t k = 0; k < plain.k; ++k) {
      const float code = scale > 0 ? std::nearbyint(row[static_cast<size_t>(k)] / scale) : 0;
      codes.as<int8_t>()[n * plain.k + k] = static_cast<int8_t>(std::clamp(code, -127.0f, 127.0f));
    }
  }
  StoredWeight weight;
  weight.format = FindFormat("int_group");
  weight.n = plain.n;
  weight.k = plain.k;
  weight.origin = plain.origin;
  weight.keep = {codes.bytes, scales.bytes};
  Coded coded;
  coded.codes = ByteCodes(codes.view, 8, 128);
  coded.scale.data = scales.view;
  coded.zero_default = 128;
  weight.body = std::move(coded);
  return FinishPart(std::move(weight));
}

class ExpertModule : public LinearMethod {
 public:
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"weight", kExpertFloats, ParamDecl::kWeight, true}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    const BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
    NIBBLE_TRY(const TensorView view, RequireParam(params, "weight", {params.n, params.k}));
    return QuantizeRows(params, "weight", view);
  }
};

// gate_up_proj [E, 2I, H], gate rows first, and down_proj [E, H, I], with or without ".weight".
class StackedInt8Experts : public MoeMethod {
 public:
  std::vector<ParamDecl> CreateWeights(std::string_view) const override {
    std::vector<ParamDecl> params;
    for (const std::string_view suffix : {"gate_up_proj", "gate_up_proj.weight", "down_proj", "down_proj.weight"})
      params.push_back({suffix, kExpertFloats, ParamDecl::kWeight, false});
    return params;
  }
  Result<LinearPart> MakeWeight(const BoundParams& bound, int64_t expert, MoeMatrix which) const override {
    const bool down = which == MoeMatrix::kDown;
    const std::string_view bare = down ? "down_proj" : "gate_up_proj", named = down ? "down_proj.weight" : "gate_up_proj.weight";
    const std::string_view suffix = bound.Find(bare) ? bare : named;
    const TensorView all = bound.View(suffix);
    const int64_t rows = down ? bound.n : 2 * bound.n;
    if (!all || all.rank() != 3 || all.dim(1) != rows || all.dim(2) != bound.k || expert >= all.dim(0)) {
      return Corrupt("{} is {}, wanted [experts,{},{}]", ParamName(bound, suffix), all ? all.shape.ToString() : "missing", rows,
                     bound.k);
    }
    return QuantizeRows(bound, suffix, all.Select(0, expert).Slice(0, which == MoeMatrix::kUp ? bound.n : 0, bound.n));
  }
};

class ExpertsInt8Config : public QuantizationConfig {
 public:
  std::string_view name() const override { return "experts_int8"; }
  std::string Describe() const override { return "experts_int8, experts quantized while loading"; }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind != LayerKind::kExpert) return nullptr;
    return std::make_shared<const ExpertModule>();
  }
  Result<std::shared_ptr<const MoeMethod>> GetMoeMethod(const LayerQuery& layer) const override {
    if (layer.has && !layer.has("gate_up_proj") && !layer.has("gate_up_proj.weight")) return nullptr;
    return std::make_shared<const StackedInt8Experts>();
  }
  double EstimateBits(const LayerQuery& layer) const override { return MemoryBits(layer); }
  double MemoryBits(const LayerQuery& layer) const override { return layer.kind == LayerKind::kExpert ? 8 : 0; }
};

Result<std::unique_ptr<QuantizationConfig>> ExpertsInt8FromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, source.where, {"quant_method"}, {"packed_modules_mapping"}));
  return std::make_unique<ExpertsInt8Config>();
}

}  // namespace

const QuantizationEntry* experts_int8_method() {
  static const QuantizationEntry entry = {.name = "experts_int8",
                                          .quant_methods = {"experts_int8"},
                                          .summary = "float checkpoints whose experts become int8 by rows while loading",
                                          .formats = {"int_group"},
                                          .from_config = ExpertsInt8FromConfig};
  return &entry;
}

}  // namespace nibble
