// SPDX-License-Identifier: Apache-2.0
// DeepSpeedFP: plain checkpoints whose linear layers are quantized to small floats while they are loaded, in groups of the
// flattened matrix.
#include <algorithm>
#include <cmath>

#include "formats/packing/bit_stream.h"
#include "methods/deepspeedfp/quantize.h"
#include "methods/param_checks.h"
#include "methods/registry.h"

namespace nibble {
namespace {

// Codes of twelve bits are wider than a CodeSource's bytes.
struct WideState {
  std::vector<uint16_t> codes;
  std::vector<float> scales, values;
  int64_t k = 0, group = 0;
};
void DecodeWide(const void* untyped, Range n, Range k, float* out) {
  const auto& state = *static_cast<const WideState*>(untyped);
  for (int64_t row = n.begin; row < n.end; ++row) {
    for (int64_t i = row * state.k + k.begin; i < row * state.k + k.end; ++i) {
      *out++ = state.scales[static_cast<size_t>(i / state.group)] * state.values[state.codes[static_cast<size_t>(i)]];
    }
  }
}
constexpr CustomCodec kWide = {"deepspeed fp12", DecodeWide, 12};

class DeepSpeedLinearMethod : public LinearMethod {
 public:
  DeepSpeedLinearMethod(const DeepSpeedFloat& format, int64_t group) : format_(format), group_(group) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"weight", {DType::kBF16, DType::kF16, DType::kF32}, ParamDecl::kWeight, true}};
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    const BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
    NIBBLE_TRY(const TensorView view, RequireParam(params, "weight", {params.n, params.k}));
    const int64_t count = params.n * params.k;
    if (count % group_ != 0) {
      return Unsupported("{}: groups of {} do not divide {} weights", ParamName(params, "weight"), group_, count);
    }
    auto wide = std::make_shared<WideState>();
    wide->k = params.k;
    wide->group = group_;
    NIBBLE_RETURN_IF_ERROR(Quantize(params, MakeDense(view, params.origin("weight"), params.Keep("weight")), *wide));
    for (int code = 0; code < 1 << format_.bits; ++code) {
      wide->values.push_back(DecodeDeepSpeedFloat(format_, static_cast<uint16_t>(code)));
    }
    StoredWeight weight;
    weight.format = FindFormat("table");
    weight.n = params.n;
    weight.k = params.k;
    weight.origin = params.origin("weight");
    if (format_.bits > 8) {
      weight.body = Custom{.codec = &kWide, .state = wide};
    } else {
      weight.body = Narrow(*wide, weight);
    }
    return FinishPart(std::move(weight));
  }

 private:
  // scale = amax / range of each group; codes of w * (range / amax).
  Status Quantize(const BoundParams& params, const StoredWeight& plain, WideState& wide) const {
    const int64_t count = plain.n * plain.k;
    std::vector<float> row(static_cast<size_t>(plain.k)), group;
    for (int64_t n = 0; n < plain.n; ++n) {
      DecodeRows(plain, {n, n + 1}, {0, plain.k}, row.data());
      for (const float x : row) {
        group.push_back(x);
        if (static_cast<int64_t>(group.size()) < group_) continue;
        float amax = 0;
        for (const float w : group) amax = std::max(amax, std::fabs(w));
        if (!std::isfinite(amax)) return Corrupt("{}: row {} holds a weight that is not finite", ParamName(params, "weight"), n);
        wide.scales.push_back(amax / format_.range);
        const float factor = amax > 0 ? format_.range / amax : 0;
        for (const float w : group) wide.codes.push_back(EncodeDeepSpeedFloat(format_, w * factor));
        group.clear();
      }
    }
    wide.codes.resize(static_cast<size_t>(count));
    return {};
  }

  // Codes packed densely row by row.
  Coded Narrow(const WideState& wide, StoredWeight& weight) const {
    const int64_t words_of_row = DenseStreamWords(weight.k, format_.bits);
    Tensor words(DType::kU32, {weight.n, words_of_row}), table(DType::kF32, {static_cast<int64_t>(wide.values.size())}),
        scales(DType::kF32, {static_cast<int64_t>(wide.scales.size())});
    std::vector<uint8_t> row(static_cast<size_t>(weight.k));
    for (int64_t n = 0; n < weight.n; ++n) {
      std::transform(wide.codes.begin() + n * weight.k, wide.codes.begin() + (n + 1) * weight.k, row.begin(),
                     [](uint16_t code) { return static_cast<uint8_t>(code); });
      EncodeDenseStream(row.data(), weight.k, format_.bits, words.as<uint32_t>() + n * words_of_row, 1);
    }
    std::copy(wide.values.begin(), wide.values.end(), table.as<float>());
    std::copy(wide.scales.begin(), wide.scales.end(), scales.as<float>());
    weight.keep = {words.bytes, table.bytes, scales.bytes};
    Coded coded;
    coded.codes = DenseStream(words.view, format_.bits, StreamAxis::kAlongK);
    coded.rule = ValueRule::kTable;
    coded.table = table.view;
    coded.scale = {.data = scales.view, .block_k = group_, .flat = true, .flat_k = weight.k};
    if (weight.k % group_ == 0) {  // groups lie inside rows: the form that more kernels take
      coded.scale.flat = false;
      coded.scale.data = scales.view.Reshape({weight.n, weight.k / group_});
    }
    return coded;
  }

  const DeepSpeedFloat& format_;
  int64_t group_;
};

class DeepSpeedConfig : public QuantizationConfig {
 public:
  DeepSpeedConfig(const DeepSpeedFloat& format, int64_t group) : format_(format), group_(group) {}

  std::string_view name() const override { return "deepspeedfp"; }
  std::string Describe() const override {
    return fmt::format("deepspeedfp e{}m{} g{}, quantized while loading", format_.exponent(), format_.mantissa, group_);
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind != LayerKind::kLinear) return nullptr;
    return std::make_shared<const DeepSpeedLinearMethod>(format_, group_);
  }
  double EstimateBits(const LayerQuery& layer) const override { return MemoryBits(layer); }
  double MemoryBits(const LayerQuery& layer) const override {
    return layer.kind == LayerKind::kLinear ? format_.bits + 32.0 / static_cast<double>(group_) : 0;
  }

 private:
  const DeepSpeedFloat& format_;
  int64_t group_;
};

Result<std::unique_ptr<QuantizationConfig>> DeepspeedfpFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_RETURN_IF_ERROR(CheckKeys(json, source.where, {"quant_method", "bits", "weight_bits", "group_size"},
                                   {"packed_modules_mapping", "rounding", "mantissa_bits"}));
  NIBBLE_TRY_IN(source.where, const int64_t stated, JsonInt(json, "weight_bits", 8));
  NIBBLE_TRY_IN(source.where, const int64_t bits, JsonInt(json, "bits", stated));
  NIBBLE_TRY_IN(source.where, const int64_t group, JsonInt(json, "group_size", 512));
  const DeepSpeedFloat* format = FindDeepSpeedFloat(bits);
  if (!format) return Corrupt("{}: bits is {}, wanted 4, 6, 8 or 12", source.where, bits);
  if (group <= 0) return Corrupt("{}: group_size is {}, wanted a positive number", source.where, group);
  return std::make_unique<DeepSpeedConfig>(*format, group);
}

}  // namespace

const QuantizationEntry* deepspeedfp_method() {
  static const QuantizationEntry entry = {
      .name = "deepspeedfp",
      .quant_methods = {"deepspeedfp"},
      .summary = "DeepSpeedFP: float checkpoints quantized to floats of 4, 6, 8, 12 bits while loading",
      .formats = {"table"},
      .from_config = DeepspeedfpFromConfig};
  return &entry;
}

}  // namespace nibble
