// SPDX-License-Identifier: Apache-2.0
// VPTQ checkpoints: vectors along n from a codebook and a residual codebook, groups of columns, outlier columns with a codebook of
// their own; then a permutation of columns, a scale and a bias for each.
#include <bit>
#include <cstring>
#include <map>
#include <optional>

#include "io/tensor_index.h"
#include "methods/param_checks.h"
#include "methods/registry.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr int64_t kMaxCentroids = 1 << 16;

// One module's sizes in the config.
struct VptqLayer {
  int64_t vector = 8, outlier_vector = 0, centroids = 0, residuals = 0, outlier_centroids = 0, groups = 1, outliers = 0;
  bool packed = true, norm = false, permuted = false;
  bool from_tensors = false;  // GPTQModel: groups and outlier columns stand in the tensors alone

  int index_bits() const { return std::bit_width(static_cast<uint64_t>(centroids - 1)); }
  int residual_bits() const { return residuals > 1 ? std::bit_width(static_cast<uint64_t>(residuals - 1)) : 0; }
};

struct VptqState {
  CustomCodec codec;
  VptqLayer layer;
  int64_t n = 0, k = 0;
  TensorView indices, centroids, residuals, outlier_indices, outlier_centroids, scale, bias;
  std::vector<int32_t> stored_column;  // of each column, before the permutation

  int64_t group_columns() const { return (k - layer.outliers) / layer.groups; }

  // Bits [at, at + bits) of the words of one line, lowest first.
  uint64_t Field(const TensorView& words, int64_t group, int64_t line, int64_t at, int bits) const {
    const int64_t base = group * words.stride[0] + line * words.stride[1];
    const auto word = [&](int64_t i) -> uint64_t {
      if (i >= words.dim(2)) return 0;
      uint32_t value;
      std::memcpy(&value, words.data + (base + i * words.stride[2]) * 4, sizeof value);
      return value;
    };
    const uint64_t both = word(at / 32) | word(at / 32 + 1) << 32;
    return both >> (at % 32) & ((uint64_t{1} << bits) - 1);
  }
  static float Entry(const TensorView& table, int64_t group, int64_t index) {
    return LoadScalar(table.dtype, table.data, group * table.stride[0] + index * table.stride[1]);
  }

  float Value(int64_t row, int64_t column) const {
    int64_t stored = stored_column.empty() ? column : stored_column[static_cast<size_t>(column)];
    if (stored < layer.outliers) {
      const int64_t v = layer.outlier_vector;
      const auto index = static_cast<int64_t>(Field(outlier_indices, 0, row / v, 32 * stored, 32)) & (layer.outlier_centroids - 1);
      return Entry(outlier_centroids, 0, index * v + row % v);
    }
    stored -= layer.outliers;
    const int64_t group = stored / group_columns(), v = layer.vector;
    const int bits = layer.index_bits(), residual_bits = layer.residual_bits();
    const int64_t at = layer.packed ? stored % group_columns() * (bits + residual_bits) : stored % group_columns() * 32;
    const auto field = Field(indices, group, row / v, at, bits + residual_bits);
    // Indices of tables whose size is no power of two may point beyond.
    const auto index = std::min<int64_t>(static_cast<int64_t>(field & ((uint64_t{1} << bits) - 1)), layer.centroids - 1);
    float value = Entry(centroids, group, index * v + row % v);
    if (residual_bits > 0) {
      const auto residual = std::min<int64_t>(static_cast<int64_t>(field >> bits), layer.residuals - 1);
      value += Entry(residuals, group, residual * v + row % v);
    }
    return value;
  }
};

void DecodeVptq(const void* state, Range n, Range k, float* out) {
  const auto& w = *static_cast<const VptqState*>(state);
  for (int64_t row = n.begin; row < n.end; ++row) {
    for (int64_t col = k.begin; col < k.end; ++col) {
      float value = w.Value(row, col);
      if (w.scale) value = value * LoadScalar(w.scale.dtype, w.scale.data, col) + LoadScalar(w.bias.dtype, w.bias.data, col);
      *out++ = value;
    }
  }
}

class VptqMethod : public LinearMethod {
 public:
  explicit VptqMethod(VptqLayer layer) : layer_(layer) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kBF16, DType::kF16, DType::kF32}, words = {DType::kI32, DType::kU32};
    return {{"indices", words, ParamDecl::kPacked, true},
            {"centroids.weight", floats, ParamDecl::kMeta, true},
            {"res_centroids.weight", floats, ParamDecl::kMeta, false},
            {"outlier_indices", words, ParamDecl::kPacked, false},
            {"outlier_centroids.weight", floats, ParamDecl::kMeta, false},
            {"weight_scale", floats, ParamDecl::kTransform, false},
            {"weight_bias", floats, ParamDecl::kTransform, false},
            {"perm", {DType::kI32, DType::kI64, DType::kI16, DType::kU16}, ParamDecl::kGroupIndex, false}};
  }

  Result<LinearPart> MakeWeight(const BoundParams& params) const override {
    if (params.n == 0 || params.k == 0)
      return Unsupported("{}: the shape of this weight stands only in the model's config", ParamName(params, "indices"));
    auto state = std::make_shared<VptqState>();
    state->layer = layer_.from_tensors ? WithStoredSizes(params) : layer_;
    state->n = params.n;
    state->k = params.k;
    NIBBLE_RETURN_IF_ERROR(BindCodes(params, *state));
    NIBBLE_RETURN_IF_ERROR(BindOutliers(params, *state));
    NIBBLE_RETURN_IF_ERROR(BindColumns(params, *state));
    const double bits = state->layer.index_bits() + state->layer.residual_bits();
    state->codec = {"vptq", DecodeVptq, bits / static_cast<double>(layer_.vector)};
    StoredWeight weight = StartWeight(params, "codebook", "indices");
    weight.body = Custom{.codec = &state->codec, .state = state};
    return FinishPart(std::move(weight));
  }

 private:
  VptqLayer WithStoredSizes(const BoundParams& params) const {
    VptqLayer layer = layer_;
    if (const TensorView indices = params.View("indices"); indices.rank() == 3) layer.groups = std::max<int64_t>(indices.dim(0), 1);
    if (const TensorView outliers = params.View("outlier_indices"); outliers && outliers.rank() == 3)
      layer.outliers = outliers.dim(2);
    return layer;
  }

  static Status BindCodes(const BoundParams& params, VptqState& state) {
    const VptqLayer& layer = state.layer;
    if (layer.outliers >= params.k || (params.k - layer.outliers) % layer.groups != 0)
      return Corrupt("{}: {} outlier columns and {} groups do not fit {} columns", ParamName(params, "indices"), layer.outliers,
                     layer.groups, params.k);
    const int64_t lines = CeilDiv(params.n, layer.vector), columns = state.group_columns();
    const int64_t words = layer.packed ? CeilDiv(columns * (layer.index_bits() + layer.residual_bits()), 32) : columns;
    NIBBLE_TRY(state.indices, RequireParam(params, "indices", {layer.groups, lines, words}));
    NIBBLE_TRY(state.centroids, RequireParam(params, "centroids.weight", {layer.groups, layer.centroids * layer.vector}));
    if (layer.residual_bits() == 0) return {};
    NIBBLE_TRY(state.residuals, RequireParam(params, "res_centroids.weight", {layer.groups, layer.residuals * layer.vector}));
    return {};
  }
  static Status BindOutliers(const BoundParams& params, VptqState& state) {
    const VptqLayer& layer = state.layer;
    if (layer.outliers == 0) return {};
    NIBBLE_TRY(state.outlier_indices,
               RequireParam(params, "outlier_indices", {1, CeilDiv(params.n, layer.outlier_vector), layer.outliers}));
    NIBBLE_TRY(state.outlier_centroids,
               RequireParam(params, "outlier_centroids.weight", {1, layer.outlier_centroids * layer.outlier_vector}));
    return {};
  }
  Status BindColumns(const BoundParams& params, VptqState& state) const {
    if (params.Find("weight_scale") || layer_.norm) {
      NIBBLE_TRY(state.scale, RequireParam(params, "weight_scale", {params.k}));
      NIBBLE_TRY(state.bias, RequireParam(params, "weight_bias", {params.k}));
    }
    if (!params.Find("perm")) return {};
    NIBBLE_TRY(const TensorView perm, RequireParam(params, "perm", {params.k}));
    // Stored column i is column perm[i] of the matrix.
    state.stored_column.assign(static_cast<size_t>(params.k), -1);
    for (int64_t i = 0; i < params.k; ++i) {
      auto column = static_cast<int64_t>(LoadScalar(perm.dtype, perm.data, i));
      if (column < 0 && perm.dtype == DType::kI16) column += 65536;  // unsigned numbers in a signed type
      if (column < 0 || column >= params.k || state.stored_column[static_cast<size_t>(column)] >= 0)
        return Corrupt("{} is no permutation of {} columns: entry {} is {}", ParamName(params, "perm"), params.k, i, column);
      state.stored_column[static_cast<size_t>(column)] = static_cast<int32_t>(i);
    }
    return {};
  }

  VptqLayer layer_;
};

// The last number of a list [outliers', the others'], or the number itself.
Result<int64_t> Last(const Json& json, const std::string& where, const char* key, int64_t fallback, int64_t high) {
  const Json* value = JsonFind(json, key);
  if (value && value->is_array() && !value->empty()) value = &value->back();
  if (!value) return fallback;
  if (!value->is_number_integer()) return Corrupt("{}: {} is {}, wanted numbers", where, key, value->dump());
  const auto number = value->get<int64_t>();
  if (number > high) return Corrupt("{}: {} is {}", where, key, number);
  return number;
}
Result<int64_t> First(const Json& json, const std::string& where, const char* key, int64_t high) {
  const Json* value = JsonFind(json, key);
  if (!value || !value->is_array() || value->size() < 2 || !value->front().is_number_integer()) return int64_t{-1};
  const auto number = value->front().get<int64_t>();
  if (number > high) return Corrupt("{}: {} is {}", where, key, number);
  return number;
}

Result<VptqLayer> ParseVptqLayer(const Json& json, const std::string& where) {
  if (!json.is_object()) return Corrupt("{}: found {}, wanted an object", where, json.type_name());
  VptqLayer layer;
  NIBBLE_TRY(layer.vector, Last(json, where, "vector_lens", 8, 4096));
  NIBBLE_TRY(layer.centroids, Last(json, where, "num_centroids", 0, kMaxCentroids));
  NIBBLE_TRY(layer.residuals, Last(json, where, "num_res_centroids", -1, kMaxCentroids));
  NIBBLE_TRY(layer.outlier_vector, First(json, where, "vector_lens", 4096));
  NIBBLE_TRY(layer.outlier_centroids, First(json, where, "num_centroids", kMaxCentroids));
  NIBBLE_TRY_IN(where, layer.groups, JsonInt(json, "group_num", 1));
  NIBBLE_TRY_IN(where, layer.outliers, JsonInt(json, "outlier_size", 0));
  NIBBLE_TRY_IN(where, layer.packed, JsonBool(json, "is_indice_packed", true));
  NIBBLE_TRY_IN(where, layer.norm, JsonBool(json, "enable_norm", false));
  NIBBLE_TRY_IN(where, layer.permuted, JsonBool(json, "enable_perm", false));
  if (layer.vector < 1 || layer.centroids < 2 || layer.groups < 1 || layer.outliers < 0)
    return Corrupt("{}: vectors of {}, {} centroids, {} groups, {} outlier columns are not possible", where, layer.vector,
                   layer.centroids, layer.groups, layer.outliers);
  if (layer.outliers > 0 && (layer.outlier_vector < 1 || !std::has_single_bit(static_cast<uint64_t>(layer.outlier_centroids))))
    return Corrupt("{}: {} outlier columns with vectors of {} and {} centroids", where, layer.outliers, layer.outlier_vector,
                   layer.outlier_centroids);
  return layer;
}

class VptqConfig : public QuantizationConfig {
 public:
  VptqConfig(std::map<std::string, VptqLayer> layers, std::optional<VptqLayer> all) : layers_(std::move(layers)), all_(all) {}
  std::string_view name() const override { return "vptq"; }
  std::string Describe() const override {
    return all_ ? fmt::format("vptq, vectors of {}, {} centroids", all_->vector, all_->centroids)
                : fmt::format("vptq, {} layers", layers_.size());
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    const VptqLayer* found = Find(layer);
    if (!found || (layer.has && !layer.has("indices"))) return nullptr;
    return std::make_shared<const VptqMethod>(*found);
  }
  double EstimateBits(const LayerQuery& layer) const override {
    const VptqLayer* found = Find(layer);
    if (!found) return 0;
    return static_cast<double>(found->index_bits() + found->residual_bits()) / static_cast<double>(found->vector);
  }

 private:
  const VptqLayer* Find(const LayerQuery& layer) const {
    const auto found = layers_.find(layer.name);
    if (found != layers_.end()) return &found->second;
    const bool linear = layer.kind == LayerKind::kLinear || layer.kind == LayerKind::kExpert || layer.has;
    return all_ && linear ? &*all_ : nullptr;
  }
  std::map<std::string, VptqLayer> layers_;
  std::optional<VptqLayer> all_;  // of every module
};

Result<std::unique_ptr<QuantizationConfig>> VptqFromConfig(const Json& json, const ConfigSource& source) {
  const Json* layers = JsonFind(json, "config_for_layers");
  std::map<std::string, VptqLayer> parsed;
  if (!layers && JsonFind(json, "vector_lens")) {  // GPTQModel's: one setting for all
    Json sizes = json;
    sizes.erase("group_num");  // -1, not decided: the tensors tell
    NIBBLE_TRY(VptqLayer all, ParseVptqLayer(sizes, source.where));
    all.from_tensors = true;
    return std::make_unique<VptqConfig>(std::move(parsed), all);
  }
  if (!layers || !layers->is_object())
    return Unsupported("{}: neither config_for_layers nor vector_lens is there: nothing else says the sizes of the codebooks",
                       source.where);
  for (const auto& [name, value] : layers->items()) {
    NIBBLE_TRY(parsed[name], ParseVptqLayer(value, fmt::format("{}, config_for_layers \"{}\"", source.where, name)));
  }
  return std::make_unique<VptqConfig>(std::move(parsed), std::nullopt);
}

}  // namespace

const QuantizationEntry* vptq_method() {
  static const QuantizationEntry entry = {.name = "vptq",
                                          .quant_methods = {"vptq"},
                                          .summary = "VPTQ: vector codebooks with residuals and outlier columns",
                                          .formats = {"codebook"},
                                          .checked = {"gptqmodel 7.7.0"},
                                          .from_config = VptqFromConfig};
  return &entry;
}

}  // namespace nibble
