// SPDX-License-Identifier: Apache-2.0
// HQQ checkpoints: W's elements in rows of one group each (axis 1) or one group to a column (axis 0), slices of these rows laid
// over each other in bytes, real scales and zero points.
#include "formats/packing/slices.h"
#include "methods/hqq/config.h"
#include "methods/hqq/scales.h"
#include "methods/param_checks.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// The matrix that is cut into slices: [rows, columns] with one scale a row (axis 1) or a column (axis 0).
struct Geometry {
  int bits = 4;
  int64_t axis = 1, rows = 0, columns = 0;
};

class HqqLinearMethod : public LinearMethod {
 public:
  explicit HqqLinearMethod(HqqSettings settings) : settings_(settings) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    std::vector<ParamDecl> params = HqqScaleParams();
    params.insert(
        params.begin(),
        {"W_q", {DType::kU8, DType::kI32, DType::kU32, DType::kF32, DType::kF16, DType::kBF16}, ParamDecl::kPacked, true});
    for (const std::string_view meta :
         {"nbits", "group_size", "shape", "axis", "packing", "compute_dtype", "unpack_view_dtype", "view_as_float", "quant_zero",
          "quant_scale", "offload_meta", "encoded_state_dict", "stores_quant_config", "channel_wise", "optimize", "round_zero"}) {
      params.push_back({meta, {DType::kI32, DType::kI64, DType::kU8}, ParamDecl::kMeta, false});
    }
    return params;
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    NIBBLE_TRY(const BoundParams params, WithShape(bound));
    NIBBLE_TRY(HqqScales scales, ReadHqqScales(params));
    NIBBLE_TRY(const Geometry geometry, GeometryOf(params, scales));
    NIBBLE_TRY(const TensorView words, Words(params, geometry, scales.scale.elems()));
    StoredWeight weight = StartWeight(params, "int_group", "W_q");
    Coded coded;
    coded.scale.data = scales.scale;
    coded.zero.emplace().data = scales.zero;
    weight.keep.insert(weight.keep.end(), scales.keep.begin(), scales.keep.end());
    SlicedLayout layout{.bits = geometry.bits, .first_high = true, .k = params.k};
    if (geometry.axis == 0) {
      SetColumnScales(params, geometry, layout, coded, weight);
    } else {
      SetRowScales(params, geometry, coded);
    }
    coded.codes = SlicedRows(words, layout);
    weight.body = std::move(coded);
    return FinishPart(std::move(weight));
  }

 private:
  // [n, k] from the stored shape where the model does not say.
  Result<BoundParams> WithShape(const BoundParams& bound) const {
    BoundParams params = bound;
    auto n = static_cast<float>(settings_.n), k = static_cast<float>(settings_.k);
    if (const TensorView shape = bound.View("shape")) {
      if (shape.elems() != 2) return Corrupt("{} has {} elements, wanted 2", ParamName(bound, "shape"), shape.elems());
      n = LoadScalar(shape.dtype, shape.data, 0);
      k = LoadScalar(shape.dtype, shape.data, 1);
    } else if (settings_.n == 0) {
      if (bound.n > 0 && bound.k > 0) return params;
      return Unsupported("{} is missing: nothing says how many rows the weight has", ParamName(bound, "shape"));
    }
    if (!(n > 0 && k > 0 && n < 0x1p24f && k < 0x1p24f)) return Corrupt("{} says [{},{}]", ParamName(bound, "shape"), n, k);
    if (params.n == 0) params.n = static_cast<int64_t>(n);
    if (params.k == 0) params.k = static_cast<int64_t>(k);
    if (n == static_cast<float>(params.n) && k == static_cast<float>(params.k)) return params;
    return Corrupt("{} says [{},{}], the model wants [{},{}]", ParamName(bound, "shape"), n, k, params.n, params.k);
  }

  Result<int64_t> Number(const BoundParams& params, std::string_view suffix, int64_t stated) const {
    if (!params.Find(suffix)) return stated;
    NIBBLE_TRY(const float value, ScalarParam(params, suffix));
    return static_cast<int64_t>(value);
  }

  // Scales tell the groups: one for each row or column of the cut matrix.
  Result<Geometry> GeometryOf(const BoundParams& params, const HqqScales& scales) const {
    Geometry geometry;
    NIBBLE_TRY(const int64_t bits, Number(params, "nbits", settings_.bits));
    NIBBLE_TRY(geometry.axis, Number(params, "axis", settings_.axis));
    const bool known = bits == 1 || bits == 2 || bits == 3 || bits == 4 || bits == 5 || bits == 6 || bits == 8;
    if (!known) return Unsupported("{}: {} bits, known are 1, 2, 3, 4, 5, 6, 8", ParamName(params, "nbits"), bits);
    if (geometry.axis != 0 && geometry.axis != 1) return Corrupt("{} is {}", ParamName(params, "axis"), geometry.axis);
    geometry.bits = static_cast<int>(bits);
    const TensorView &scale = scales.scale, &zero = scales.zero;
    const int64_t elems = params.n * params.k, groups = scale.elems();
    if (zero.elems() != groups || groups <= 0 || elems % groups != 0) {
      return Corrupt("{} is {} and zero {}: the weight [{},{}] has no such groups", ParamName(params, "scale"),
                     scale.shape.ToString(), zero.shape.ToString(), params.n, params.k);
    }
    const bool one = groups == 1;  // channel_wise false: W as it is under one scale
    geometry.rows = one ? params.n : geometry.axis == 1 ? groups : elems / groups;
    geometry.columns = elems / geometry.rows;
    return geometry;
  }

  // W_q as words of the packing, whatever float type it may be stored as (view_as_float).
  static Result<TensorView> Words(const BoundParams& params, const Geometry& geometry, int64_t scales) {
    const TensorView stored = params.View("W_q");
    const DType word = geometry.bits == 3 ? DType::kI32 : DType::kU8;
    const int64_t step = CeilDiv(geometry.rows, SlicesPerWord(geometry.bits)), bytes = step * geometry.columns * DTypeBytes(word);
    if (!stored.contiguous() || stored.size_bytes() != bytes) {
      return Corrupt("{} is {} {}: {} bytes, but {}-bit codes of [{},{}] with {} scales take {}; do nbits and axis fit the file?",
                     ParamName(params, "W_q"), DTypeName(stored.dtype), stored.shape.ToString(), stored.size_bytes(), geometry.bits,
                     params.n, params.k, scales, bytes);
    }
    return TensorView(stored.data, word, {step, geometry.columns});
  }

  static void SetRowScales(const BoundParams& params, const Geometry& geometry, Coded& coded) {
    for (Plane* plane : {&coded.scale, &*coded.zero}) {
      const int64_t groups = plane->data.elems();
      if (groups == 1) {
        plane->data = plane->data.Reshape({1, 1});
        plane->block_n = 0;
      } else if (params.k % geometry.columns == 0) {  // groups lie inside rows
        plane->data = plane->data.Reshape({params.n, params.k / geometry.columns});
        plane->block_k = params.k == geometry.columns ? 0 : geometry.columns;
      } else {
        plane->data = plane->data.Reshape({groups});
        plane->flat = true;
        plane->flat_k = params.k;
        plane->block_k = geometry.columns;
      }
    }
  }

  // Axis 0: W's rows n, n + slots, n + 2 slots ... share the scales [slots, k]. The body keeps such rows together, a row map leads
  // there.
  static void SetColumnScales(const BoundParams& params, const Geometry& geometry, SlicedLayout& layout, Coded& coded,
                              StoredWeight& weight) {
    if (geometry.columns % params.k != 0) return SpreadColumnScales(params, geometry, coded, weight);
    const int64_t slots = geometry.columns / params.k, group = geometry.rows;
    layout.group = group;
    layout.rows_per_slot = slots;
    for (Plane* plane : {&coded.scale, &*coded.zero}) {
      const bool one = plane->data.elems() == 1;
      plane->data = plane->data.Reshape({one ? 1 : slots, one ? 1 : params.k});
      plane->block_n = one ? 0 : group;
      plane->block_k = one ? 0 : 1;
    }
    Tensor map(DType::kI32, {params.n});
    for (int64_t row = 0; row < params.n; ++row) {
      map.as<int32_t>()[row] = static_cast<int32_t>(row % slots * group + row / slots);
    }
    weight.row_map = map.view;
    weight.keep.push_back(map.bytes);
  }

  // Axis 0 with groups that are no divisor of the rows (a router's four rows, say): a group begins anywhere in a row. Where it
  // takes whole parts of rows, all rows have the same scales; else every element gets its own.
  static void SpreadColumnScales(const BoundParams& params, const Geometry& geometry, Coded& coded, StoredWeight& weight) {
    const bool same_rows = params.k % geometry.columns == 0;
    const int64_t rows = same_rows ? 1 : params.n;
    for (Plane* plane : {&coded.scale, &*coded.zero}) {
      Tensor spread(DType::kF32, {rows, params.k});
      for (int64_t i = 0; i < rows * params.k; ++i) {
        spread.as<float>()[i] = LoadScalar(plane->data.dtype, plane->data.data, i % geometry.columns);
      }
      plane->data = spread.view;
      plane->block_n = same_rows ? 0 : 1;
      plane->block_k = 1;
      weight.keep.push_back(spread.bytes);
    }
  }

  HqqSettings settings_;
};

class HqqQuantizationConfig : public QuantizationConfig {
 public:
  explicit HqqQuantizationConfig(HqqConfig config) : config_(std::move(config)) {}

  std::string_view name() const override { return "hqq"; }
  std::string Describe() const override {
    if (!config_.stated) return "hqq, settings in the tensors";
    if (!config_.by_layer.empty()) return fmt::format("hqq, settings for {} kinds of layers", config_.by_layer.size());
    const HqqSettings& base = config_.base;
    return fmt::format("hqq {}-bit {} axis {}", base.bits,
                       base.group_size < 0 ? "per-channel" : fmt::format("g{}", base.group_size), base.axis);
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    const HqqSettings* settings = config_.Find(layer.name);
    const bool quantized = layer.has ? layer.has("W_q") : ConfigSays(layer);
    if (!quantized || layer.kind == LayerKind::kAttention) return nullptr;
    if (const auto own = config_.modules.find(layer.name); own != config_.modules.end()) settings = &own->second;
    return std::make_shared<const HqqLinearMethod>(settings ? *settings : config_.base);
  }
  // Codes (5 and 6 bits take whole bytes, 3 bits tenths of 32), and for each group two 32-bit numbers.
  double EstimateBits(const LayerQuery& layer) const override {
    const HqqSettings* settings = config_.Find(layer.name);
    if (!ConfigSays(layer)) return 0;
    const double bits = settings->bits == 3 ? 3.2 : settings->bits > 4 ? 8 : static_cast<double>(settings->bits);
    return settings->group_size > 0 ? bits + 64.0 / static_cast<double>(settings->group_size) : bits;
  }

 private:
  bool ConfigSays(const LayerQuery& layer) const {
    const bool linear = layer.kind == LayerKind::kLinear || layer.kind == LayerKind::kExpert;
    return linear && config_.Find(layer.name) != nullptr;
  }
  HqqConfig config_;
};

Result<std::unique_ptr<QuantizationConfig>> HqqFromConfig(const Json& json, const ConfigSource& source) {
  NIBBLE_TRY(HqqConfig config, HqqConfig::Parse(json, source.where));
  NIBBLE_RETURN_IF_ERROR(config.ReadModules(source.metadata));
  return std::make_unique<HqqQuantizationConfig>(std::move(config));
}

bool Recognizes(const TensorIndex& tensors) {
  for (const StoredTensor& tensor : tensors.tensors())
    if (tensor.name.ends_with(".W_q")) return true;
  return false;
}

}  // namespace

const QuantizationEntry* hqq_method() {
  static const QuantizationEntry entry = {
      .name = "hqq",
      .quant_methods = {"hqq"},
      .summary = "HQQ: integers of 1 to 8 bits with real scales and zero points, groups along inputs or outputs",
      .formats = {"int_group"},
      .checked = {"hqq 0.1.8", "hqq 0.2.8.post1"},
      .from_config = HqqFromConfig,
      .recognizes = Recognizes};
  return &entry;
}

}  // namespace nibble
