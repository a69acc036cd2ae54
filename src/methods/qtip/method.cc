// SPDX-License-Identifier: Apache-2.0
// QTIP checkpoints: trellis-coded matrices between two Hadamard rotations.
#include "formats/hadamard_tables.h"
#include "methods/param_checks.h"
#include "methods/qtip/config.h"
#include "methods/registry.h"
#include "methods/trellis_weight.h"

namespace nibble {
namespace {

const std::vector<DType> kQtipFloats = {DType::kF32, DType::kF16, DType::kBF16};
const std::vector<DType> kIntegers = {DType::kI64, DType::kI32, DType::kI16, DType::kU8};

class QtipMethod : public LinearMethod {
 public:
  QtipMethod(const QtipConfig& config, std::string where) : config_(config), where_(std::move(where)) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"trellis", {DType::kI16, DType::kU16}, ParamDecl::kPacked, true},
            {"SU", kQtipFloats, ParamDecl::kTransform, true},
            {"SV", kQtipFloats, ParamDecl::kTransform, true},
            {"tlut", kQtipFloats, ParamDecl::kMeta, false},
            {"rcp", kIntegers, ParamDecl::kMeta, false},
            {"tp_rank", kIntegers, ParamDecl::kMeta, false}};
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    BoundParams params = bound;
    if (params.n == 0) params.n = params.View("SV").elems();
    if (params.k == 0) params.k = params.View("SU").elems();
    // A v_proj may have other bits than the config says; the tensor tells.
    NIBBLE_TRY(const TensorView tiles, RequireRank(params, "trellis", 2));
    const int64_t bits = tiles.dim(1) / 16;
    if (tiles.dim(1) % 16 != 0 || bits < 1 || bits > 8 || bits * config_.vec > 16)
      return Corrupt("{} is {}, wanted rows of 16 to 128 words", ParamName(params, "trellis"), tiles.shape.ToString());
    TrellisOrder order = config_.order;
    if (order == TrellisOrder::kKernel && (bits < 2 || bits > 4)) order = TrellisOrder::kPlain;
    NIBBLE_TRY(StoredWeight weight, MakeTrellisWeight(params, {.code = config_.code,
                                                               .order = order,
                                                               .bits = static_cast<int>(bits),
                                                               .vec = config_.vec,
                                                               .table = "tlut",
                                                               .table_bits = config_.table_bits}));
    NIBBLE_RETURN_IF_ERROR(AddTransforms(params, weight));
    return FinishPart(std::move(weight));
  }

 private:
  // rcp: 1 rotates the input rank by rank, 2 the output.
  Status AddTransforms(const BoundParams& params, StoredWeight& weight) const {
    float rcp = 0, ranks = 8;
    if (params.Find("rcp")) {
      NIBBLE_TRY(rcp, ScalarParam(params, "rcp"));
    }
    if (params.Find("tp_rank")) {
      NIBBLE_TRY(ranks, ScalarParam(params, "tp_rank"));
    }
    const auto split = static_cast<int64_t>(ranks);
    if ((rcp != 0 && rcp != 1 && rcp != 2) || split < 1 || params.k % split != 0 || params.n % split != 0) {
      if (rcp != 0) return Corrupt("{} is {} with {} ranks for [{},{}]", ParamName(params, "rcp"), rcp, ranks, params.n, params.k);
    }
    NIBBLE_TRY(Transform scale_in, ScaleTransform(params, "SU", params.k));
    NIBBLE_TRY(Transform scale_out, ScaleTransform(params, "SV", params.n));
    NIBBLE_TRY(Transform in, Rotation(params, rcp == 1 ? params.k / split : params.k));
    NIBBLE_TRY(Transform out, Rotation(params, rcp == 2 ? params.n / split : params.n));
    out.inverse = true;  // y = H y is y H^T in rows
    weight.in = {scale_in, in};
    weight.out = {out, scale_out};
    return {};
  }
  static Result<Transform> Rotation(const BoundParams& params, int64_t block) {
    if (const auto transform = HadamardOf(block)) return *transform;
    return Unsupported("{}: no Hadamard matrix of size {} is known", ParamName(params, "trellis"), block);
  }

  QtipConfig config_;
  std::string where_;
};

class QtipQuantizationConfig : public QuantizationConfig {
 public:
  QtipQuantizationConfig(const QtipConfig& config, std::string where) : config_(config), where_(std::move(where)) {}
  std::string_view name() const override { return "qtip"; }
  std::string Describe() const override { return fmt::format("qtip {}-bit {}", config_.bits, TrellisCodeName(config_.code)); }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.has ? !layer.has("trellis") : EstimateBits(layer) == 0) return nullptr;
    return std::make_shared<const QtipMethod>(config_, where_);
  }
  double EstimateBits(const LayerQuery& layer) const override {
    return layer.kind == LayerKind::kLinear || layer.kind == LayerKind::kExpert ? config_.bits : 0;
  }

 private:
  QtipConfig config_;
  std::string where_;
};

Result<std::unique_ptr<QuantizationConfig>> QtipFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(const QtipConfig config, QtipConfig::Parse(json, source.where));
  return std::make_unique<QtipQuantizationConfig>(config, source.where);
}

}  // namespace

const QuantizationEntry* qtip_method() {
  static const QuantizationEntry entry = {.name = "qtip",
                                          .quant_methods = {"qtip"},
                                          .summary = "QTIP: trellis codes 1mad, 3inst, lut, quantlut between Hadamard rotations",
                                          .formats = {"trellis"},
                                          .from_config = QtipFromConfig};
  return &entry;
}

}  // namespace nibble
