// SPDX-License-Identifier: Apache-2.0
// moe_wna16: GPTQ or AWQ checkpoints of mixtures of experts, or experts already in the run-time layout of that kernel: all experts
// of a layer in one tensor of bytes, codes along k, lowest bits first.
#include "formats/packing/bit_stream.h"
#include "methods/param_checks.h"
#include "methods/registry.h"

namespace nibble {
namespace {

struct WnaSettings {
  int bits = 4;
  int64_t group_size = 128;
};

// w13_* hold gate rows, then up rows; w2_* the down projection. qweight u8 [E, n, k*b/8], scales [E, n, G], qzeros u8 [E, n*b/8, G]
// packed along n, absent: 2^(b-1).
class StackedWna16Experts : public MoeMethod {
 public:
  explicit StackedWna16Experts(WnaSettings settings) : settings_(settings) {}

  std::vector<ParamDecl> CreateWeights(std::string_view) const override {
    std::vector<ParamDecl> params;
    const std::vector<DType> floats = {DType::kF16, DType::kBF16, DType::kF32}, bytes = {DType::kU8, DType::kI8};
    for (const auto& [codes, scales, zeros] : kNames) {
      params.push_back({codes, bytes, ParamDecl::kPacked, true});
      params.push_back({scales, floats, ParamDecl::kGroupScale, true});
      params.push_back({zeros, bytes, ParamDecl::kZeroPoint, false});
    }
    return params;
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound, int64_t expert, MoeMatrix which) const override {
    const bool down = which == MoeMatrix::kDown;
    const auto& [codes_name, scales_name, zeros_name] = kNames[down ? 1 : 0];
    BoundParams params = bound;
    params.n = down ? bound.n : 2 * bound.n;
    for (const std::string_view suffix : {codes_name, scales_name, zeros_name}) {
      const StoredTensor* tensor = params.Find(suffix);
      if (tensor && (tensor->view.rank() != 3 || expert >= tensor->view.dim(0))) {
        return Corrupt("{} is {}, wanted three dimensions and more than {} experts", ParamName(params, suffix),
                       tensor->view.shape.ToString(), expert);
      }
    }
    params.expert = expert;
    const int bits = settings_.bits;
    const int64_t group = settings_.group_size > 0 && settings_.group_size < params.k ? settings_.group_size : 0;
    const int64_t groups = group ? CeilDiv(params.k, group) : 1;
    NIBBLE_TRY(const TensorView codes, RequireParam(params, codes_name, {params.n, params.k * bits / 8}));
    StoredWeight weight = StartWeight(params, "int_group", codes_name);
    Coded coded;
    coded.codes = DenseStream(codes, bits, StreamAxis::kAlongK);
    NIBBLE_TRY(coded.scale.data, RequireParam(params, scales_name, {params.n, groups}));
    coded.scale.block_k = group;
    coded.zero_default = static_cast<float>(1 << (bits - 1));
    if (params.Find(zeros_name)) {
      NIBBLE_TRY(const TensorView zeros, RequireParam(params, zeros_name, {params.n * bits / 8, groups}));
      coded.zero.emplace().block_k = group;
      coded.zero->packed = DenseStream(zeros.Transpose(0, 1), bits, StreamAxis::kAlongN);
    }
    weight.body = std::move(coded);
    if (down) return FinishPart(std::move(weight));
    const int64_t row = which == MoeMatrix::kUp ? bound.n : 0;
    NIBBLE_TRY(StoredWeight cut, Slice(weight, {row, row + bound.n}, {0, params.k}));
    return FinishPart(std::move(cut));
  }

 private:
  struct Names {
    std::string_view codes, scales, zeros;
  };
  static constexpr Names kNames[2] = {{"w13_qweight", "w13_scales", "w13_qzeros"}, {"w2_qweight", "w2_scales", "w2_qzeros"}};
  WnaSettings settings_;
};

// Everything but stacked experts is the linear method's.
class MoeWnaConfig : public QuantizationConfig {
 public:
  MoeWnaConfig(WnaSettings settings, std::unique_ptr<QuantizationConfig> linear)
      : settings_(settings), linear_(std::move(linear)) {}

  std::string_view name() const override { return "moe_wna16"; }
  std::string Describe() const override { return "moe_wna16 over " + linear_->Describe(); }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    return linear_->GetQuantMethod(layer);
  }
  Result<std::shared_ptr<const MoeMethod>> GetMoeMethod(const LayerQuery& layer) const override {
    if (!layer.has || !layer.has("w13_qweight")) return nullptr;
    return std::make_shared<const StackedWna16Experts>(settings_);
  }
  double EstimateBits(const LayerQuery& layer) const override { return linear_->EstimateBits(layer); }

 private:
  WnaSettings settings_;
  std::unique_ptr<QuantizationConfig> linear_;
};

Result<std::unique_ptr<QuantizationConfig>> MoeWna16FromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY_IN(source.where, const std::string linear, JsonString(json, "linear_quant_method", "gptq"));
  if (linear != "gptq" && linear != "awq") {
    return Unsupported("{}: linear_quant_method \"{}\"; moe_wna16 reads gptq and awq", source.where, linear);
  }
  WnaSettings settings;
  NIBBLE_TRY_IN(source.where, const int64_t bits, JsonInt(json, "bits", 4));
  if (bits != 4 && bits != 8) return Corrupt("{}: bits is {}, wanted 4 or 8", source.where, bits);
  settings.bits = static_cast<int>(bits);
  NIBBLE_TRY_IN(source.where, settings.group_size, JsonInt(json, "group_size", 128));
  Json inner = json;
  inner["quant_method"] = linear;
  for (const char* key : {"linear_quant_method", "has_zp"}) inner.erase(key);
  NIBBLE_TRY(auto config, FindQuantization(linear)->from_config(inner, source));
  return std::make_unique<MoeWnaConfig>(settings, std::move(config));
}

}  // namespace

const QuantizationEntry* moe_wna16_method() {
  static const QuantizationEntry entry = {
      .name = "moe_wna16",
      .quant_methods = {"moe_wna16"},
      .summary = "GPTQ or AWQ mixtures of experts, experts stacked in bytes (w13_qweight, w2_qweight) too",
      .formats = {"int_group"},
      .from_config = MoeWna16FromConfig};
  return &entry;
}

}  // namespace nibble
