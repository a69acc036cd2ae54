// SPDX-License-Identifier: Apache-2.0
// Checkpoints of optimum-quanto: quanto_qmap.json names the types of every quantized module.
#include <map>

#include "formats/packing/bytes.h"
#include "formats/packing/slices.h"
#include "methods/param_checks.h"
#include "methods/quanto/codec.h"
#include "methods/registry.h"

namespace nibble {
namespace {

struct QuantoTypes {
  std::string weights, activations;  // "qint4", "none"
};

class QuantoLinearMethod : public LinearMethod {
 public:
  explicit QuantoLinearMethod(QuantoTypes types) : types_(std::move(types)) {}

  std::vector<ParamDecl> CreateWeights(const LinearShape&) const override {
    const std::vector<DType> floats = {DType::kF16, DType::kBF16, DType::kF32};
    std::vector<DType> shifts = floats;
    shifts.insert(shifts.end(), {DType::kI8, DType::kU8});
    return {{"weight._data._data", {DType::kU8}, ParamDecl::kPacked, packed()},
            {"weight._data", {DType::kI8, DType::kE4M3, DType::kE5M2}, ParamDecl::kWeight, !packed()},
            {"weight._scale", floats, ParamDecl::kGroupScale, true},
            {"weight._shift", shifts, ParamDecl::kZeroPoint, packed()},
            {"input_scale", floats, ParamDecl::kTensorScale, false},
            {"output_scale", floats, ParamDecl::kTensorScale, false}};
  }

  Result<LinearPart> MakeWeight(const BoundParams& bound) const override {
    auto state = std::make_shared<QuantoState>();
    BoundParams params = bound;
    NIBBLE_RETURN_IF_ERROR(packed() ? ReadPacked(params, *state) : ReadBytes(params, *state));
    StoredWeight weight = StartWeight(params, "dense", packed() ? "weight._data._data" : "weight._data");
    weight.format = FindFormat(packed() ? "int_group" : "fp8");
    weight.body = Custom{.codec = FindQuantoCodec(types_.weights), .state = std::move(state)};
    NIBBLE_TRY(const ActivationSpec act, Activations(params, "input_scale"));
    LinearPart part = FinishPart(std::move(weight), act);
    NIBBLE_TRY(part.out_act, Activations(params, "output_scale"));
    return part;
  }

 private:
  bool packed() const { return types_.weights == "qint4" || types_.weights == "qint2"; }

  // One scale and shift for each row of the regrouped matrix [n*k/g, g], whose slices share bytes.
  Status ReadPacked(BoundParams& params, QuantoState& state) const {
    const int bits = types_.weights == "qint4" ? 4 : 2;
    NIBBLE_TRY(const TensorView bytes, RequireRank(params, "weight._data._data", 2));
    const int64_t slices = SlicesPerWord(bits), group = bytes.dim(1);
    state.scale = params.View("weight._scale");
    state.shift = params.View("weight._shift");
    const int64_t rows = state.scale.elems();
    if (params.n == 0 || params.k == 0) {
      return Unsupported("{}: nothing in the file says how its {} groups of {} form rows; name the model's shape",
                         ParamName(params, "weight._data._data"), rows, group);
    }
    if (rows * group != params.n * params.k || state.shift.elems() != rows || CeilDiv(rows, slices) != bytes.dim(0) ||
        !bytes.contiguous()) {
      return Corrupt("{} is {} with {} scales and {} shifts, which is no {} of [{},{}]", ParamName(params, "weight._data._data"),
                     bytes.shape.ToString(), rows, state.shift.elems(), types_.weights, params.n, params.k);
    }
    state.codes = SlicedRows(bytes, {.bits = bits, .k = params.k});
    state.value_type = DType::kU8;
    state.block = group;
    state.k = params.k;
    return {};
  }

  Status ReadBytes(BoundParams& params, QuantoState& state) const {
    params = WithStoredShape(params, {.suffix = "weight._data"});
    NIBBLE_TRY(const TensorView bytes, RequireParam(params, "weight._data", {params.n, params.k}));
    state.scale = params.View("weight._scale");
    const int64_t scales = state.scale.elems();
    if (scales != params.n && scales != 1) {
      return Corrupt("{} is {}, wanted [{},1]", ParamName(params, "weight._scale"), state.scale.shape.ToString(), params.n);
    }
    state.value_type = bytes.dtype;
    state.codes = ByteCodes(bytes, 8, bytes.dtype == DType::kI8 ? 128 : 0);
    state.k = params.k;
    state.block = scales == 1 ? params.n * params.k : params.k;
    return {};
  }

  // The tool quantizes what goes in and what comes out, each with a scale of its own.
  Result<ActivationSpec> Activations(const BoundParams& params, std::string_view scale) const {
    if (types_.activations.empty() || types_.activations == "none") return ActivationSpec{};
    static constexpr std::pair<std::string_view, DType> kCodes[] = {
        {"qint8", DType::kI8}, {"qfloat8", DType::kE4M3}, {"qfloat8_e4m3fn", DType::kE4M3}, {"qfloat8_e5m2", DType::kE5M2}};
    for (const auto& [name, code] : kCodes) {
      if (types_.activations != name) continue;
      ActivationSpec act{.grain = ActivationSpec::kTensor,
                         .code = code,
                         .dynamic = false,
                         .rule = ActivationSpec::kCompressedTensors};  // it divides by the scale, too
      NIBBLE_TRY(act.scale, ScalarParam(params, scale));
      return act;
    }
    return Unsupported("{}: activations of {}; readable are qint8, qfloat8_e4m3fn, qfloat8_e5m2", params.name, types_.activations);
  }

  QuantoTypes types_;
};

class QuantoConfig : public QuantizationConfig {
 public:
  std::map<std::string, QuantoTypes, std::less<>> modules;

  std::string_view name() const override { return "quanto"; }
  std::string Describe() const override {
    std::map<std::string, int> counts;
    for (const auto& [name, types] : modules) ++counts[types.weights];
    std::string text = "quanto";
    for (const auto& [type, count] : counts) text += fmt::format(" {} ({} modules)", type, count);
    return text;
  }
  Result<std::shared_ptr<const LinearMethod>> GetQuantMethod(const LayerQuery& layer) const override {
    const auto found = modules.find(layer.name);
    const bool stored = !layer.has || layer.has("weight._scale");
    if (found == modules.end() || !stored) {
      if (layer.has && stored) return Corrupt("{}: quantized tensors, but quanto_qmap.json does not name it", layer.name);
      return nullptr;
    }
    return std::make_shared<const QuantoLinearMethod>(found->second);
  }
  double EstimateBits(const LayerQuery& layer) const override {
    const auto found = modules.find(layer.name);
    return found == modules.end() ? 0 : FindQuantoCodec(found->second.weights)->bits_per_weight;
  }
};

// {"<module>": {"weights": "qint4", "activations": "none"}}
Result<std::unique_ptr<QuantizationConfig>> QuantoFromConfig(const Json& json, const ConfigSource& source) {
  auto config = std::make_unique<QuantoConfig>();
  for (const auto& [module, value] : json.items()) {
    if (module == "quant_method") continue;
    if (!value.is_object()) {
      return Unsupported(
          "{}: key \"{}\": quanto names its modules in quanto_qmap.json; settings for quantizing while loading are not read",
          source.where, module);
    }
    const std::string here = fmt::format("{}, \"{}\"", source.where, module);
    NIBBLE_RETURN_IF_ERROR(CheckKeys(value, here, {"weights", "activations"}, {}));
    QuantoTypes types;
    NIBBLE_TRY_IN(here, types.weights, JsonString(value, "weights", "none"));
    NIBBLE_TRY_IN(here, types.activations, JsonString(value, "activations", "none"));
    if (types.weights == "none") continue;
    if (types.weights == "qfloat8_e4m3fnuz") {
      return Unsupported("{}: weights \"{}\", AMD's form of e4m3, which is not readable; quantize with qfloat8_e4m3fn instead",
                         here, types.weights);
    }
    if (!FindQuantoCodec(types.weights)) {
      return Unsupported("{}: weights \"{}\"; readable are qint2, qint4, qint8, qfloat8", here, types.weights);
    }
    config->modules[module] = std::move(types);
  }
  return config;
}

}  // namespace

const QuantizationEntry* quanto_method() {
  static const QuantizationEntry entry = {.name = "quanto",
                                          .quant_methods = {"quanto"},
                                          .config_filenames = {"quanto_qmap.json"},
                                          .summary = "Quanto: qint2, qint4 in groups, qint8 and qfloat8 by rows",
                                          .formats = {"int_group", "fp8"},
                                          .checked = {"optimum-quanto 0.2.7"},
                                          .from_config = QuantoFromConfig};
  return &entry;
}

}  // namespace nibble
