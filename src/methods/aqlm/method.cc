// SPDX-License-Identifier: Apache-2.0
// AQLM checkpoints: groups of weights are sums of vectors from codebooks.
#include "io/tensor_index.h"
#include "methods/param_checks.h"
#include "methods/registry.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct Codebooks {
  CustomCodec codec;
  TensorView codes;      // i8 or i16 [n / out, k / in, books]
  TensorView codebooks;  // [books, 2^bits, out, in]
  TensorView scales;     // [n / out, 1, 1, 1]
  int64_t out = 1, in = 8;

  float Vector(int64_t row, int64_t group, int64_t i, int64_t j) const {
    float sum = 0;
    const int64_t books = codes.dim(2), size = codebooks.dim(1);
    for (int64_t book = 0; book < books; ++book) {
      // Codes are stored as signed integers of the same width.
      const auto code = static_cast<int64_t>(
          LoadScalar(codes.dtype, codes.data, row * codes.stride[0] + group * codes.stride[1] + book * codes.stride[2]));
      const int64_t index = code & (size - 1);
      sum +=
          LoadScalar(codebooks.dtype, codebooks.data,
                     book * codebooks.stride[0] + index * codebooks.stride[1] + i * codebooks.stride[2] + j * codebooks.stride[3]);
    }
    return sum;
  }
};

void DecodeAqlm(const void* state, Range n, Range k, float* out) {
  const auto& w = *static_cast<const Codebooks*>(state);
  for (int64_t row = n.begin; row < n.end; ++row) {
    const float scale = LoadScalar(w.scales.dtype, w.scales.data, row / w.out * w.scales.stride[0]);
    for (int64_t col = k.begin; col < k.end; ++col) *out++ = scale * w.Vector(row / w.out, col / w.in, row % w.out, col % w.in);
  }
}

struct AqlmConfig {
  int64_t in = 8, out = 1, books = 1, bits = 16;
  std::vector<std::string> plain;
};

class AqlmMethod : public LinearMethod {
 public:
  explicit AqlmMethod(AqlmConfig config) : config_(std::move(config)) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kF16, DType::kBF16, DType::kF32};
    return {{"codes", {DType::kI8, DType::kU8, DType::kI16, DType::kI32}, ParamDecl::kPacked, true},
            {"codebooks", floats, ParamDecl::kMeta, true},
            {"scales", floats, ParamDecl::kGroupScale, true}};
  }
  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    BoundParams params = bound;
    const auto& c = config_;
    NIBBLE_TRY(const TensorView codes, RequireRank(params, "codes", 3));
    if (params.n == 0) params.n = codes.dim(0) * c.out;
    if (params.k == 0) params.k = codes.dim(1) * c.in;
    if (params.n % c.out != 0 || params.k % c.in != 0)
      return Corrupt("{}: groups of {} x {} do not divide a weight [{},{}]", ParamName(params, "codes"), c.out, c.in, params.n,
                     params.k);
    auto state = std::make_shared<Codebooks>();
    state->out = c.out;
    state->in = c.in;
    NIBBLE_TRY(state->codes, RequireParam(params, "codes", {params.n / c.out, params.k / c.in, c.books}));
    NIBBLE_TRY(state->codebooks, RequireParam(params, "codebooks", {c.books, int64_t{1} << c.bits, c.out, c.in}));
    NIBBLE_TRY(state->scales, RequireParam(params, "scales", {params.n / c.out, 1, 1, 1}));
    if (DTypeBytes(state->codes.dtype) * 8 < c.bits)
      return Corrupt("{} is {}, but nbits_per_codebook is {}", ParamName(params, "codes"), DTypeName(state->codes.dtype), c.bits);
    StoredWeight weight = StartWeight(params, "codebook", "codes");
    state->codec = {"aqlm", DecodeAqlm, static_cast<double>(c.books * c.bits) / static_cast<double>(c.in * c.out)};
    weight.body = Custom{.codec = &state->codec, .state = state};
    return FinishPart(std::move(weight));
  }

 private:
  AqlmConfig config_;
};

class AqlmQuantizationConfig : public QuantizationConfig {
 public:
  explicit AqlmQuantizationConfig(AqlmConfig config) : config_(std::move(config)) {}
  std::string_view name() const override { return "aqlm"; }
  std::string Describe() const override { return fmt::format("aqlm {}x{} g{}", config_.books, config_.bits, config_.in); }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    if (layer.has ? !layer.has("codes") : EstimateBits(layer) == 0) return nullptr;
    return std::make_shared<const AqlmMethod>(config_);
  }
  double EstimateBits(const LayerQuery& layer) const override {
    if (layer.kind != LayerKind::kLinear && layer.kind != LayerKind::kExpert) return 0;
    for (const std::string& name : config_.plain)
      if (name == layer.name || name == layer.name + ".weight") return 0;
    return static_cast<double>(config_.books * config_.bits) / static_cast<double>(config_.in * config_.out);
  }

 private:
  AqlmConfig config_;
};

Result<std::unique_ptr<QuantizationConfig>> AqlmFromConfig(const Json& json, const ConfigSource& source) {
  const std::string& where = source.where;
  NIBBLE_RETURN_IF_ERROR(CheckKeys(
      json, where,
      {"quant_method", "in_group_size", "out_group_size", "num_codebooks", "nbits_per_codebook", "linear_weights_not_to_quantize"},
      {}));
  AqlmConfig config;
  NIBBLE_TRY_IN(where, config.in, JsonInt(json, "in_group_size", 8));
  NIBBLE_TRY_IN(where, config.out, JsonInt(json, "out_group_size", 1));
  NIBBLE_TRY_IN(where, config.books, JsonInt(json, "num_codebooks", 1));
  NIBBLE_TRY_IN(where, config.bits, JsonInt(json, "nbits_per_codebook", 16));
  if (config.in < 1 || config.in > 1024 || config.out < 1 || config.out > 1024 || config.books < 1 || config.books > 64 ||
      config.bits < 1 || config.bits > 16)
    return Corrupt("{}: groups of {} x {} from {} codebooks of {} bits are not possible", where, config.out, config.in,
                   config.books, config.bits);
  if (const Json* names = JsonFind(json, "linear_weights_not_to_quantize"); names && names->is_array())
    for (const Json& name : *names)
      if (name.is_string()) config.plain.push_back(name.get<std::string>());
  return std::make_unique<AqlmQuantizationConfig>(std::move(config));
}

}  // namespace

const QuantizationEntry* aqlm_method() {
  static const QuantizationEntry entry = {.name = "aqlm",
                                          .quant_methods = {"aqlm"},
                                          .summary = "AQLM: sums of codebook vectors",
                                          .formats = {"codebook"},
                                          .from_config = AqlmFromConfig};
  return &entry;
}

}  // namespace nibble
