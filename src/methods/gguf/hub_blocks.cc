// SPDX-License-Identifier: Apache-2.0
// X.qweight u8 [n, bytes of a row]: blocks of one type, rows padded to whole blocks. The type is named by bits and format: 4 and
// "q_k_m" are q4_k.
#include "methods/gguf/hub_blocks.h"

#include <algorithm>
#include <vector>

#include "io/tensor_index.h"
#include "methods/name_pattern.h"
#include "methods/param_checks.h"

namespace nibble {
namespace {

// "q_k_s", "q_k" -> "k"; "q_0_g128" -> "0". Empty: not understood.
std::string Family(std::string_view format) {
  const size_t at = format.find('_');
  if (at == std::string_view::npos || (format.substr(0, at) != "q" && format.substr(0, at) != "iq")) return "";
  const std::string_view rest = format.substr(at + 1);
  return std::string(rest.substr(0, rest.find('_')));
}

Result<FormatId> BlockType(const Json& json, const std::string& where, int64_t bits, const std::string& format) {
  NIBBLE_TRY_IN(where, const int64_t own_bits, JsonInt(json, "bits", bits));
  NIBBLE_TRY_IN(where, const std::string own_format, JsonString(json, "format", format));
  const FormatId type = FindFormat(fmt::format("q{}_{}", own_bits, Family(own_format)));
  if (type && type->is_blocked()) return type;
  return Unsupported("{}: bits {} with format \"{}\" name no ggml type; readable are q_0, q_1 and q_k of 1 to 8 bits", where,
                     own_bits, own_format);
}

class GgufBlocksMethod : public LinearMethod {
 public:
  explicit GgufBlocksMethod(FormatId type) : type_(type) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"qweight", {DType::kU8, DType::kI8}, ParamDecl::kPacked, true}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    BoundParams params = bound;
    NIBBLE_TRY(const TensorView blocks, RequireRank(params, "qweight", 2));
    if (params.n == 0) params.n = blocks.dim(0);
    if (params.k == 0) params.k = blocks.dim(1) / type_->block_bytes * type_->block_elems;
    const int64_t wanted = CeilDiv(params.k, type_->block_elems) * type_->block_bytes;
    if (blocks.dim(0) != params.n || blocks.dim(1) != wanted || blocks.stride[1] != 1)
      return Corrupt("{} is {}, wanted [{},{}] for a weight [{},{}] in {} blocks, which the bits and format of the config name",
                     ParamName(params, "qweight"), blocks.shape.ToString(), params.n, wanted, params.n, params.k, type_->name);
    StoredWeight weight = StartWeight(params, type_->name, "qweight");
    weight.body = Blocked{.blocks = blocks};
    return FinishPart(std::move(weight));
  }

 private:
  FormatId type_;
};

class GgufBlocksConfig : public QuantizationConfig {
 public:
  struct Rule {  // of `dynamic`
    NamePattern pattern;
    FormatId type = nullptr;  // null: not quantized
  };

  GgufBlocksConfig(FormatId type, bool lm_head, std::vector<Rule> rules)
      : type_(type), lm_head_(lm_head), rules_(std::move(rules)) {}
  std::string_view name() const override { return "gguf"; }
  std::string Describe() const override { return fmt::format("gguf {} blocks in safetensors", type_->name); }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.has ? !layer.has("qweight") : EstimateBits(layer) == 0) return nullptr;
    const FormatId type = TypeOf(layer.name);
    return std::make_shared<const GgufBlocksMethod>(type ? type : type_);
  }
  double EstimateBits(const LayerQuery& layer) const override {
    const bool outer = layer.kind == LayerKind::kEmbedding || (layer.kind == LayerKind::kLmHead && !lm_head_);
    const FormatId type = outer || layer.kind == LayerKind::kAttention ? nullptr : TypeOf(layer.name);
    return type ? 8.0 * type->block_bytes / type->block_elems : 0;
  }

 private:
  FormatId TypeOf(const std::string& module) const {
    for (const Rule& rule : rules_)
      if (rule.pattern.Matches(module)) return rule.type;
    return type_;
  }
  FormatId type_;
  bool lm_head_;
  std::vector<Rule> rules_;
};

}  // namespace

Result<std::unique_ptr<QuantizationConfig>> GgufBlocksFromConfig(const Json& json, const ConfigSource& source) {
  const std::string& where = source.where;
  if (!JsonFind(json, "bits") || !JsonFind(json, "format"))
    return Unsupported("{}: quant_method \"gguf\" without bits and format; a GGUF model is its .gguf file: give that", where);
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, where,
                                   {"quant_method", "method", "bits", "format", "checkpoint_format", "dynamic", "lm_head"},
                                   {"meta", "group_size", "desc_act", "sym", "pack_dtype", "true_sequential", "provider"}));
  NIBBLE_TRY(const FormatId type, BlockType(json, where, 4, "q_k_m"));
  NIBBLE_TRY_IN(where, const int64_t bits, JsonInt(json, "bits", 4));
  NIBBLE_TRY_IN(where, const std::string format, JsonString(json, "format", "q_k_m"));
  NIBBLE_TRY_IN(where, const bool lm_head, JsonBool(json, "lm_head", false));
  std::vector<GgufBlocksConfig::Rule> rules;
  if (const Json* dynamic = JsonFind(json, "dynamic")) {
    if (!dynamic->is_object()) return Corrupt("{}: dynamic is {}, wanted an object", where, dynamic->type_name());
    for (const auto& [key, value] : dynamic->items()) {
      const bool skip = key.starts_with("-:"), marked = skip || key.starts_with("+:");
      const std::string here = fmt::format("{}, dynamic \"{}\"", where, key);
      NIBBLE_TRY(NamePattern pattern, NamePattern::Compile(std::string_view(key).substr(marked ? 2 : 0), here));
      GgufBlocksConfig::Rule rule{std::move(pattern)};
      if (!skip) {
        if (!value.is_object()) return Corrupt("{}: found {}, wanted an object", here, value.type_name());
        NIBBLE_TRY(rule.type, BlockType(value, here, bits, format));
      }
      rules.push_back(std::move(rule));
    }
    // The tool tests skips first.
    std::stable_partition(rules.begin(), rules.end(), [](const GgufBlocksConfig::Rule& rule) { return rule.type == nullptr; });
  }
  return std::make_unique<GgufBlocksConfig>(type, lm_head, std::move(rules));
}

}  // namespace nibble
