// SPDX-License-Identifier: Apache-2.0
// gpt-oss: the matrices of all experts of a layer in one MXFP4 tensor; rows of gate and up take turns. Everything else is float.
#include "io/tensor_index.h"
#include "methods/block_float_weight.h"
#include "methods/mxfp4/config.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

struct Mxfp4Names {
  std::string_view blocks, scales, bias;
};
constexpr Mxfp4Names kGateUp = {"gate_up_proj_blocks", "gate_up_proj_scales", "gate_up_proj_bias"};
constexpr Mxfp4Names kDown = {"down_proj_blocks", "down_proj_scales", "down_proj_bias"};

// Rows of one expert: [rows, ...] of [E, rows, ...]. of 2: every second one, from `first`.
TensorView Rows(const TensorView& all, int64_t expert, int64_t every, int64_t first) {
  const TensorView one = all.Select(0, expert);
  const int64_t rows = one.dim(0), width = one.elems() / rows;
  return one.Reshape({rows / every, every, width}).Select(1, first);
}

class Mxfp4MoeMethod : public MoeMethod {
 public:
  std::vector<ParamDecl> CreateWeights(std::string_view) const override {
    const std::vector<DType> bytes = {DType::kU8}, exponents = {DType::kU8, DType::kE8M0};
    const std::vector<DType> floats = {DType::kBF16, DType::kF16, DType::kF32};
    std::vector<ParamDecl> params;
    for (const Mxfp4Names& names : {kGateUp, kDown}) {
      params.push_back({names.blocks, bytes, ParamDecl::kPacked, true});
      params.push_back({names.scales, exponents, ParamDecl::kGroupScale, true});
      params.push_back({names.bias, floats, ParamDecl::kMeta, false});
    }
    return params;
  }

  Result<LinearPart> MakeWeight(const BoundParams& params, int64_t expert, MoeMatrix which) const override {
    const Mxfp4Names& names = which == MoeMatrix::kDown ? kDown : kGateUp;
    const int64_t every = which == MoeMatrix::kDown ? 1 : 2, first = which == MoeMatrix::kUp ? 1 : 0;
    NIBBLE_RETURN_IF_ERROR(Check(params, names, expert, every));
    StoredTensor codes = *params.Find(names.blocks), scales = *params.Find(names.scales);
    codes.view = Rows(codes.view, expert, every, first);
    scales.view = Rows(scales.view, expert, every, first);
    BoundParams one{.name = fmt::format("{}[{}]", params.name, expert), .n = params.n, .k = params.k};
    one.params = {{names.blocks, &codes}, {names.scales, &scales}};
    NIBBLE_TRY(StoredWeight weight,
               MakeBlockFloatWeight(one, {.group = 32, .codes = names.blocks, .scale = names.scales, .e8m0 = true}));
    LinearPart part = FinishPart(std::move(weight));
    if (!params.Find(names.bias)) return part;
    NIBBLE_TRY(const TensorView bias, RequireRank(params, names.bias, 2));
    if (bias.dim(0) <= expert || bias.dim(1) != params.n * every || !bias.contiguous()) {
      return Corrupt("{} is {}, wanted [experts,{}]", ParamName(params, names.bias), bias.shape.ToString(), params.n * every);
    }
    part.bias = bias.Select(0, expert).Reshape({params.n, every}).Select(1, first);
    part.bias_keep = params.Keep(names.bias);
    return part;
  }

 private:
  // [E, rows, k / 32, 16] and [E, rows, k / 32].
  static Status Check(const BoundParams& params, const Mxfp4Names& names, int64_t expert, int64_t every) {
    NIBBLE_TRY(const TensorView blocks, RequireRank(params, names.blocks, 4));
    NIBBLE_TRY(const TensorView scales, RequireRank(params, names.scales, 3));
    const int64_t experts = blocks.dim(0), rows = params.n * every, groups = params.k / 32;
    if (params.k % 32 != 0 || expert >= experts || !blocks.contiguous() || !scales.contiguous() ||
        blocks.shape != Shape{experts, rows, groups, 16} || scales.shape != Shape{experts, rows, groups}) {
      return Corrupt("{} is {} with scales {}, wanted [experts,{},{},16] and [experts,{},{}] for a weight [{},{}]",
                     ParamName(params, names.blocks), blocks.shape.ToString(), scales.shape.ToString(), rows, groups, rows, groups,
                     params.n, params.k);
    }
    return {};
  }
};

class Mxfp4QuantizationConfig : public QuantizationConfig {
 public:
  explicit Mxfp4QuantizationConfig(Mxfp4Config config) : config_(std::move(config)) {}

  std::string_view name() const override { return "mxfp4"; }
  std::string Describe() const override { return "mxfp4 experts"; }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery&) const override { return nullptr; }
  Result<std::shared_ptr<const MoeMethod>> GetMoeMethod(const LayerQuery& layer) const override {
    if (layer.has ? !layer.has(kGateUp.blocks) : config_.Excludes(layer.name)) return nullptr;
    return std::make_shared<const Mxfp4MoeMethod>();
  }
  double EstimateBits(const LayerQuery& layer) const override {
    return layer.kind == LayerKind::kExpert && !config_.Excludes(layer.name) ? 4.25 : 0;
  }

 private:
  Mxfp4Config config_;
};

Result<std::unique_ptr<QuantizationConfig>> Mxfp4FromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(Mxfp4Config config, Mxfp4Config::Parse(json, source.where));
  return std::make_unique<Mxfp4QuantizationConfig>(std::move(config));
}

}  // namespace

const QuantizationEntry* mxfp4_method() {
  static const QuantizationEntry entry = {.name = "mxfp4",
                                          .quant_methods = {"mxfp4", "gpt_oss_mxfp4"},
                                          .summary = "gpt-oss: MXFP4 experts, all of a layer in one tensor; the rest is float",
                                          .formats = {"block_float"},
                                          .from_config = Mxfp4FromConfig};
  return &entry;
}

}  // namespace nibble
