// SPDX-License-Identifier: Apache-2.0
// Checkpoints of bitsandbytes: 4-bit table codes (nf4, fp4) with flat blocks and maybe doubly quantized scales, and LLM.int8.
#include <algorithm>
#include <limits>

#include "formats/packing/bytes.h"
#include "formats/packing/flat_nibbles.h"
#include "io/tensor_index.h"
#include "methods/bitsandbytes/config.h"
#include "methods/param_checks.h"
#include "methods/registry.h"

namespace nibble {
namespace {

// Suffixes of a 4-bit module's tensors: transformers and bitsandbytes itself, and GPTQModel.
struct BnbSpelling {
  std::string_view absmax, map, nested_absmax, nested_map, states[2];
};
constexpr BnbSpelling kSpellings[] = {
    {"weight.absmax",
     "weight.quant_map",
     "weight.nested_absmax",
     "weight.nested_quant_map",
     {"weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4"}},
    {"weight_absmax", "weight_quant_map", "weight_nested_absmax", "weight_nested_quant_map", {"weight_quant_state", {}}},
};
constexpr std::string_view kInt8Scales[] = {"SCB", "weight_scb"};

const std::vector<DType> kScaleDTypes = {DType::kF32, DType::kBF16, DType::kF16};

class Bnb4BitMethod : public LinearMethod {
 public:
  explicit Bnb4BitMethod(const BnbSpelling& spelling) : spelling_(spelling) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    std::vector<DType> absmax = kScaleDTypes;
    absmax.push_back(DType::kU8);
    const std::vector<DType> storage = {DType::kU8, DType::kI8, DType::kBF16, DType::kF16, DType::kF32};
    std::vector<ParamDecl> params = {{"weight", storage, ParamDecl::kPacked, true},
                                     {spelling_.absmax, absmax, ParamDecl::kBlockScale, true},
                                     {spelling_.map, {DType::kF32}, ParamDecl::kMeta, true},
                                     {spelling_.nested_absmax, kScaleDTypes, ParamDecl::kBlockScale, false},
                                     {spelling_.nested_map, {DType::kF32}, ParamDecl::kMeta, false}};
    for (const std::string_view state : spelling_.states)
      if (!state.empty()) params.push_back({state, {DType::kU8}, ParamDecl::kMeta, false});
    return params;
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    NIBBLE_TRY(const BnbQuantState state, State(bound));
    BoundParams params = bound;
    if (params.n == 0) params.n = state.n;
    if (params.k == 0) params.k = state.k;
    if (params.n != state.n || params.k != state.k)
      return Corrupt("{}: its quant_state says [{},{}], the model wants [{},{}]", ParamName(params, "weight"), state.n, state.k,
                     params.n, params.k);
    StoredWeight weight = StartWeight(params, "table", "weight");
    NIBBLE_TRY(const TensorView bytes, Bytes(params, "weight", CeilDiv(state.n * state.k, 2)));
    Coded coded;
    coded.codes = FlatNibbles(bytes, state.k);
    coded.rule = ValueRule::kTable;
    NIBBLE_TRY(coded.table, RequireParam(params, spelling_.map, {16}));
    NIBBLE_TRY(coded.scale, Scales(params, state));
    weight.body = std::move(coded);
    return FinishPart(std::move(weight));
  }

 private:
  Result<BnbQuantState> State(const BoundParams& params) const {
    for (const std::string_view name : spelling_.states)
      if (!name.empty() && params.Find(name)) return BnbQuantState::Parse(params.View(name), ParamName(params, name));
    return Corrupt("{} is missing", ParamName(params, spelling_.states[0]));
  }

  // Contiguous bytes of any dtype and shape, at least `wanted` of them.
  static Result<TensorView> Bytes(const BoundParams& params, std::string_view suffix, int64_t wanted) {
    const TensorView view = params.View(suffix);
    if (!view.contiguous() || view.size_bytes() < wanted)
      return Corrupt("{} is {} {}, wanted {} bytes for a weight [{},{}] of 4 bits", ParamName(params, suffix),
                     DTypeName(view.dtype), view.shape.ToString(), wanted, params.n, params.k);
    return TensorView(view.data, DType::kU8, {view.size_bytes()});
  }

  // At least `wanted` elements of a vector.
  static Result<TensorView> Vector(const BoundParams& params, std::string_view suffix, int64_t wanted) {
    const TensorView view = params.View(suffix);
    if (!view) return Corrupt("{} is missing", ParamName(params, suffix));
    if (!view.contiguous() || view.elems() < wanted)
      return Corrupt("{} is {}, wanted [{}] for a weight [{},{}] and the block size of its quant_state", ParamName(params, suffix),
                     view.shape.ToString(), wanted, params.n, params.k);
    return view.Reshape({view.elems()});
  }

  Result<Plane> Scales(const BoundParams& params, const BnbQuantState& state) const {
    const int64_t blocks = CeilDiv(state.n * state.k, state.blocksize);
    Plane plane;
    plane.flat = true;
    plane.flat_k = state.k;
    plane.block_k = state.blocksize;
    NIBBLE_TRY(plane.data, Vector(params, spelling_.absmax, blocks));
    const bool nested = params.Find(spelling_.nested_absmax) != nullptr;
    if (nested != (plane.data.dtype == DType::kU8) || nested != (state.nested_blocksize > 0))
      return Corrupt("{} is {}, but {} is {}present and the quant_state says {}double quantization",
                     ParamName(params, spelling_.absmax), DTypeName(plane.data.dtype), spelling_.nested_absmax,
                     nested ? "" : "not ", state.nested_blocksize > 0 ? "" : "no ");
    if (!nested) return plane;
    NIBBLE_TRY(plane.table, RequireParam(params, spelling_.nested_map, {256}));
    NIBBLE_TRY(plane.outer, Vector(params, spelling_.nested_absmax, CeilDiv(blocks, state.nested_blocksize)));
    plane.outer_block = state.nested_blocksize;
    plane.offset = state.nested_offset;
    return plane;
  }

  const BnbSpelling& spelling_;
};

class BnbInt8Method : public LinearMethod {
 public:
  BnbInt8Method(std::string_view scale, float threshold) : scale_(scale), threshold_(threshold) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    return {{"weight", {DType::kI8}, ParamDecl::kWeight, true},
            {scale_, kScaleDTypes, ParamDecl::kChannelScale, true},
            {"weight_format", {DType::kU8}, ParamDecl::kMeta, false}};
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    const BoundParams params = WithStoredShape(bound, {.suffix = "weight"});
    if (params.Find("weight_format")) {
      NIBBLE_TRY(const float format, ScalarParam(params, "weight_format"));
      if (format != 0)
        return Unsupported(
            "{} is {}: tiles of a GPU (1 col32, 2 turing, 3 ampere); only 0, plain rows, is readable. Save the model "
            "again with bitsandbytes 0.43 or later",
            ParamName(params, "weight_format"), format);
    }
    StoredWeight weight = StartWeight(params, "int_group", "weight");
    NIBBLE_TRY(const TensorView bytes, RequireParam(params, "weight", {params.n, params.k}));
    Coded coded;
    coded.codes = ByteCodes(bytes, 8, 128);
    coded.zero_default = 128;
    NIBBLE_TRY(coded.scale, ScalePlane(params, scale_, 0, 0));
    coded.scale.multiplier = 1.0f / 127;
    weight.body = std::move(coded);
    // Without outliers the threshold is out of reach.
    const float threshold = threshold_ > 0 ? threshold_ : std::numeric_limits<float>::infinity();
    return FinishPart(std::move(weight), {.grain = ActivationSpec::kToken, .code = DType::kI8, .outlier_threshold = threshold});
  }

 private:
  std::string_view scale_;
  float threshold_;
};

class BnbQuantizationConfig : public QuantizationConfig {
 public:
  BnbQuantizationConfig(BnbConfig config, std::string where) : config_(std::move(config)), where_(std::move(where)) {}

  std::string_view name() const override { return "bitsandbytes"; }
  std::string Describe() const override {
    static constexpr const char* kLoads[] = {"bitsandbytes", "bitsandbytes 4-bit", "bitsandbytes int8"};
    return std::string(kLoads[config_.load]) + (config_.load == BnbConfig::k4Bit && config_.nested ? " double-quant" : "");
  }

  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.kind == LayerKind::kAttention) return nullptr;
    if (!layer.has) return FromConfig(layer);
    for (const BnbSpelling& spelling : kSpellings) {
      if (!layer.has(spelling.absmax)) continue;
      if (config_.load == BnbConfig::k8Bit) return Contradiction(layer, "load_in_8bit", spelling.absmax);
      return std::make_shared<const Bnb4BitMethod>(spelling);
    }
    for (const std::string_view scale : kInt8Scales) {
      if (!layer.has(scale)) continue;
      if (config_.load == BnbConfig::k4Bit) return Contradiction(layer, "load_in_4bit", scale);
      return std::make_shared<const BnbInt8Method>(scale, config_.int8_threshold);
    }
    return nullptr;  // whatever the lists say
  }

  // Codes, an f32 (or nested: a byte and its share of an f32) per 64; int8: a byte.
  double EstimateBits(const LayerQuery& layer) const override {
    if (!ConfigSays(layer)) return 0;
    if (config_.load == BnbConfig::k8Bit) return 8;
    return 4 + (config_.nested ? 8.0 + 32.0 / 256 : 32.0) / 64;
  }

 private:
  tl::unexpected<Error> Contradiction(const LayerQuery& layer, const char* key, std::string_view suffix) const {
    return Corrupt("{}: {} is true, but the tensor {}.{} is of the other kind", where_, key, layer.name, suffix);
  }
  std::shared_ptr<const LinearMethod> FromConfig(const LayerQuery& layer) const {
    if (!ConfigSays(layer)) return nullptr;
    if (config_.load == BnbConfig::k8Bit) return std::make_shared<const BnbInt8Method>(kInt8Scales[0], config_.int8_threshold);
    return std::make_shared<const Bnb4BitMethod>(kSpellings[0]);
  }
  bool ConfigSays(const LayerQuery& layer) const {
    if (layer.kind == LayerKind::kAttention || layer.kind == LayerKind::kEmbedding) return false;
    const std::string dotted = "." + layer.name + ".";
    return std::none_of(config_.skipped.begin(), config_.skipped.end(),
                        [&](const std::string& name) { return dotted.find("." + name + ".") != std::string::npos; });
  }
  BnbConfig config_;
  std::string where_;
};

Result<std::unique_ptr<QuantizationConfig>> BitsandbytesFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(BnbConfig config, BnbConfig::Parse(json, source.where));
  return std::make_unique<BnbQuantizationConfig>(std::move(config), source.where);
}

}  // namespace

const QuantizationEntry* bitsandbytes_method() {
  static const QuantizationEntry entry = {.name = "bitsandbytes",
                                          .quant_methods = {"bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit", "bnb"},
                                          .summary = "nf4 and fp4 with double quantization; LLM.int8 with outliers",
                                          .formats = {"table", "int_group"},
                                          .checked = {"bitsandbytes 0.50.2"},
                                          .from_config = BitsandbytesFromConfig};
  return &entry;
}

}  // namespace nibble
