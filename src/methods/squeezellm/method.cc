// SPDX-License-Identifier: Apache-2.0
// SqueezeLLM checkpoints: 4-bit codes that index a table of 16 values of their row.
#include "formats/packing/bit_stream.h"
#include "methods/param_checks.h"
#include "methods/registry.h"

namespace nibble {
namespace {

class SqueezeLlmMethod : public LinearMethod {
 public:
  explicit SqueezeLlmMethod(int bits) : bits_(bits) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"qweight", {DType::kI32, DType::kU32}, ParamDecl::kPacked, true},
            {"lookup_table", {DType::kF16, DType::kBF16, DType::kF32}, ParamDecl::kMeta, true},
            {"rows", {DType::kI32}, ParamDecl::kMeta, false}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    const BoundParams params = WithStoredShape(bound, {.suffix = "qweight", .row_num = 32, .row_den = bits_, .swapped = true});
    if (params.Find("rows"))
      return Unsupported("{}: sparse outliers beside the table codes (dense-and-sparse files) are not readable",
                         ParamName(params, "rows"));
    StoredWeight weight = StartWeight(params, "table", "qweight");
    Coded coded;
    NIBBLE_TRY(const TensorView words, RequireParam(params, "qweight", {DenseStreamWords(params.k, bits_), params.n}));
    coded.codes = DenseStream(words.Transpose(0, 1), bits_, StreamAxis::kAlongK);
    coded.rule = ValueRule::kRowTable;
    NIBBLE_TRY(coded.table, RequireParam(params, "lookup_table", {params.n, int64_t{1} << bits_}));
    weight.body = std::move(coded);
    return FinishPart(std::move(weight));
  }

 private:
  int bits_;
};

class SqueezeLlmConfig : public QuantizationConfig {
 public:
  explicit SqueezeLlmConfig(int bits) : bits_(bits) {}
  std::string_view name() const override { return "squeezellm"; }
  std::string Describe() const override { return fmt::format("squeezellm {}-bit", bits_); }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.has ? !layer.has("qweight") : EstimateBits(layer) == 0) return nullptr;
    return std::make_shared<const SqueezeLlmMethod>(bits_);
  }
  double EstimateBits(const LayerQuery& layer) const override { return layer.kind == LayerKind::kLinear ? bits_ : 0; }

 private:
  int bits_;
};

Result<std::unique_ptr<QuantizationConfig>> SqueezellmFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, source.where, {"quant_method", "wbits", "bits"}, {"format", "group_size"}));
  NIBBLE_TRY_IN(source.where, const int64_t bits, JsonInt(json, "bits", 4));
  NIBBLE_TRY_IN(source.where, const int64_t wbits, JsonInt(json, "wbits", bits));
  if (wbits != 3 && wbits != 4) return Unsupported("{}: wbits is {}; readable are 3 and 4", source.where, wbits);
  return std::make_unique<SqueezeLlmConfig>(static_cast<int>(wbits));
}

}  // namespace

const QuantizationEntry* squeezellm_method() {
  static const QuantizationEntry entry = {.name = "squeezellm",
                                          .quant_methods = {"squeezellm"},
                                          .summary = "SqueezeLLM: 3- and 4-bit codes with a table for each row",
                                          .formats = {"table"},
                                          .from_config = SqueezellmFromConfig};
  return &entry;
}

}  // namespace nibble
