// SPDX-License-Identifier: Apache-2.0
// Checkpoints of torchao: tensor subclasses, flattened into safetensors or pickled.
#include "methods/registry.h"
#include "methods/torchao/config.h"
#include "methods/torchao/tensors.h"

namespace nibble {
namespace {

class TorchaoMethod : public LinearMethod {
 public:
  explicit TorchaoMethod(TorchaoTensor tensor) : tensor_(std::move(tensor)) {}
  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override { return TorchaoParams(); }
  Result<LinearPart> MakeWeight(const BoundParams& params) const override { return MakeTorchaoWeight(params, tensor_); }

 private:
  TorchaoTensor tensor_;
};

class TorchaoQuantizationConfig : public QuantizationConfig {
 public:
  TorchaoQuantizationConfig(TorchaoConfig config, const ConfigSource& source) : config_(std::move(config)), where_(source.where) {
    if (source.metadata) metadata_ = *source.metadata;
  }

  std::string_view name() const override { return "torchao"; }
  std::string Describe() const override { return "torchao " + config_.summary; }

  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention) return nullptr;
    if (!layer.has) {
      if (EstimateBits(layer) == 0) return nullptr;
      return std::make_shared<const TorchaoMethod>(TorchaoTensor());
    }
    if (!layer.has("_weight_qdata")) return nullptr;
    const auto text = metadata_.find(layer.name + ".weight");
    if (text == metadata_.end())
      return Corrupt(
          "{}: the tensors of {}._weight_qdata are there, but the metadata of the file describes no {}.weight: was it "
          "written again by a tool that drops metadata?",
          where_, layer.name, layer.name);
    NIBBLE_TRY(TorchaoTensor tensor, TorchaoTensor::Parse(text->second, "metadata of " + text->first));
    return std::make_shared<const TorchaoMethod>(std::move(tensor));
  }

  double EstimateBits(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention) return 0;
    const bool outer = layer.kind == LayerKind::kEmbedding || layer.kind == LayerKind::kLmHead;
    return outer && !config_.embeddings && !config_.names.count(layer.name) ? 0 : config_.Bits(layer.name);
  }

 private:
  TorchaoConfig config_;
  std::string where_;
  std::map<std::string, std::string> metadata_;
};

Result<std::unique_ptr<QuantizationConfig>> TorchaoFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(TorchaoConfig config, TorchaoConfig::Parse(json, source.where));
  return std::make_unique<TorchaoQuantizationConfig>(std::move(config), source);
}

}  // namespace

const QuantizationEntry* torchao_method() {
  static const QuantizationEntry entry = {
      .name = "torchao",
      .quant_methods = {"torchao"},
      .summary = "int4, int8, intx, float8, MX and NVFP4 tensor subclasses; safetensors and pickled",
      .formats = {"int_group", "fp8", "block_float"},
      .checked = {"torchao 0.18.0"},
      .from_config = TorchaoFromConfig};
  return &entry;
}

}  // namespace nibble
