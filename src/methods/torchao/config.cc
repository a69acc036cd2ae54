// SPDX-License-Identifier: Apache-2.0
#include "methods/torchao/config.h"

#include <algorithm>
#include <cctype>

#include "methods/registry.h"

namespace nibble {
namespace {

// Typed values are {"_type": ..., "_data": ...}.
const Json* Data(const Json* value) {
  if (!value || !value->is_object()) return value;
  const Json* data = JsonFind(*value, "_data");
  return data ? data : value;
}
std::string Text(const Json* value) {
  const Json* data = Data(value);
  return data && data->is_string() ? data->get<std::string>() : "";
}
std::string TypeName(const Json* value) {
  if (!value || !value->is_object()) return "";
  return Text(JsonFind(*value, "_type"));
}
// An enumeration by name in safetensors, by value in pickles.
bool Is(const Json* value, std::string_view name, int number = -1) {
  const Json* data = Data(value);
  if (!data) return false;
  if (data->is_number_integer()) return data->get<int64_t>() == number;
  const std::string text = Text(value);
  return text.size() == name.size() && std::equal(text.begin(), text.end(), name.begin(),
                                                  [](char a, char b) { return std::toupper(static_cast<unsigned char>(a)) == b; });
}
bool True(const Json& object, const char* key) {
  const Json* value = JsonFind(object, key);
  return value && value->is_boolean() && value->get<bool>();
}
// "int3", "uint4" -> 3, 4; 0: no integer type.
int IntegerBits(std::string_view name) {
  const size_t at = name.find("int");
  if (at == std::string_view::npos || at > 1 || name.size() != at + 4) return 0;
  const char digit = name[at + 3];
  return digit >= '1' && digit <= '8' ? digit - '0' : 0;
}

// ---- tensors -----------------------------------------------------------------------------------------------------------------

Status ParseTorchaoBlock(const Json& data, const std::string& where, TorchaoTensor& tensor) {
  const Json* block = JsonFind(data, "block_size");
  if (!block) return {};
  if (block->is_number_integer()) {  // MX, NVFP4: along the row
    tensor.block_n = 1;
    tensor.block_k = block->get<int64_t>();
  } else {
    if (!block->is_array() || (block->size() != 2 && block->size() != 3))
      return Corrupt("{}: block_size is {}, wanted two numbers", where, block->dump());
    const size_t first = block->size() - 2;
    for (size_t i = first; i < block->size(); ++i)
      if (!(*block)[i].is_number_integer()) return Corrupt("{}: block_size is {}, wanted numbers", where, block->dump());
    tensor.block_n = (*block)[first].get<int64_t>();
    tensor.block_k = (*block)[first + 1].get<int64_t>();
  }
  if (tensor.block_n < 1 || tensor.block_k < 1) return Corrupt("{}: block_size is {}", where, block->dump());
  return {};
}

Status ParseGranularity(const Json& kwargs, const std::string& where, ActivationSpec& act) {
  const Json* granularity = JsonFind(kwargs, "granularity");
  const std::string type = TypeName(granularity);
  if (type == "PerTensor") {
    act.grain = ActivationSpec::kTensor;
  } else if (type.empty() || type == "PerRow" || type == "PerToken" || type == "PerAxis") {
    act.grain = ActivationSpec::kToken;
  } else if (type == "PerBlock" || type == "PerGroup") {
    const Json* data = Data(granularity);
    const Json* size = JsonFind(*data, type == "PerGroup" ? "group_size" : "block_size");
    if (size && size->is_array() && !size->empty()) size = &size->back();
    if (!size || !size->is_number_integer() || size->get<int64_t>() < 1 || size->get<int64_t>() > 1 << 20)
      return Corrupt("{}: granularity is {}, wanted the size of its blocks", where, granularity->dump());
    act.grain = ActivationSpec::kGroup;
    act.group = static_cast<int>(size->get<int64_t>());
  } else {
    return Unsupported("{}: activations of granularity {}", where, type);
  }
  return {};
}

// MX: the number format of the codes.
Result<DType> ElementType(const Json& data, const std::string& where) {
  struct Name {
    std::string_view text;
    DType dtype;
  };
  static constexpr Name kNames[] = {{"float8_e4m3fn", DType::kE4M3},
                                    {"float8_e5m2", DType::kE5M2},
                                    {"float4_e2m1fn_x2", DType::kE2M1},
                                    {"fp6_e2m3", DType::kE2M3},
                                    {"fp6_e3m2", DType::kE3M2}};
  const std::string text = Text(JsonFind(data, "elem_dtype"));
  for (const Name& name : kNames)
    if (text == name.text) return name.dtype;
  return Unsupported("{}: elem_dtype is \"{}\"", where, text);
}

// MX: powers of two; NVFP4: e4m3 under a global scale.
Status ParseBlockActivations(const Json& kwargs, const std::string& type, const std::string& where, ActivationSpec& act) {
  act.grain = ActivationSpec::kGroup;
  NIBBLE_TRY_IN(where, const int64_t group, JsonInt(kwargs, "block_size", type == "QuantizeTensorToMXKwargs" ? 32 : 16));
  if (group < 1 || group > 1 << 20) return Corrupt("{}: block_size is {}", where, group);
  act.group = static_cast<int>(group);
  if (type == "QuantizeTensorToNVFP4Kwargs") {
    act.code = DType::kE2M1;
    act.scale_code = ActivationSpec::kE4M3;
    act.rule = ActivationSpec::kTorchao;
    act.global = True(kwargs, "use_dynamic_per_tensor_scale") ? 0 : 1;  // 1: unless the checkpoint has one
    return {};
  }
  act.rule = ActivationSpec::kTorchao;
  NIBBLE_TRY(act.code, ElementType(kwargs, where));
  const Json* mode = JsonFind(kwargs, "scaling_mode");
  if (Is(mode, "RCEIL")) {
    act.scale_code = ActivationSpec::kPow2Up;
  } else if (Is(mode, "CEIL")) {
    act.scale_code = ActivationSpec::kPow2Ceil;
  } else if (Is(mode, "EVEN")) {
    act.scale_code = ActivationSpec::kPow2Even;
  } else if (!mode || Is(mode, "FLOOR")) {
    act.scale_code = ActivationSpec::kPow2Floor;
  } else {
    return Unsupported("{}: scaling_mode {}; readable are RCEIL, CEIL, EVEN and FLOOR", where, mode->dump());
  }
  return {};
}

// Integers follow the rule that Quark has too (half steps, ranges hold 0, x times 1/scale), floats amax / max.
Status ParseTorchaoActivations(const Json& data, const std::string& where, TorchaoTensor& tensor) {
  ActivationSpec& act = tensor.act;
  act.rule = ActivationSpec::kCompressedTensors;
  if (const Json* named = JsonFind(data, "activation_quantization")) {
    if (Text(named) != "int8_asym_per_token") return Unsupported("{}: activation_quantization is {}", where, named->dump());
    act.grain = ActivationSpec::kToken;
    act.code = DType::kI8;
    act.rule = ActivationSpec::kQuark;
    act.symmetric = false;
  }
  if (Text(JsonFind(data, "activation_dtype")) == "float8_e4m3fn") {
    act.grain = ActivationSpec::kToken;
    act.code = DType::kE4M3;
  }
  const Json* kwargs = JsonFind(data, "act_quant_kwargs");
  const std::string type = TypeName(kwargs);
  if (kwargs) kwargs = Data(kwargs);
  if (type == "QuantizeTensorToInt8Kwargs") {
    act.code = DType::kI8;
    act.rule = ActivationSpec::kQuark;
    act.symmetric = !Is(JsonFind(*kwargs, "mapping_type"), "ASYMMETRIC", 3);
    act.bits = True(*kwargs, "reduce_range") ? 7 : 8;
    return ParseGranularity(*kwargs, where, act);
  }
  if (type == "QuantizeTensorToFloat8Kwargs") {
    const std::string dtype = Text(JsonFind(*kwargs, "float8_dtype"));
    if (dtype != "float8_e4m3fn" && dtype != "float8_e5m2")
      return Unsupported("{}: activations in {}, readable: float8_e4m3fn, float8_e5m2", where, dtype);
    act.code = dtype == "float8_e5m2" ? DType::kE5M2 : DType::kE4M3;
    NIBBLE_TRY_IN(where, const double upper, JsonNumber(*kwargs, "hp_value_ub", 0.0));
    act.upper_bound = static_cast<float>(upper);
    return ParseGranularity(*kwargs, where, act);
  }
  if (type == "QuantizeTensorToMXKwargs" || type == "QuantizeTensorToNVFP4Kwargs")
    return ParseBlockActivations(*kwargs, type, where, act);
  if (!type.empty()) return Unsupported("{}: act_quant_kwargs of type {}", where, type);
  if (act.grain == ActivationSpec::kNone) act = {};
  return {};
}

Status ParseElement(const Json& data, const std::string& where, TorchaoTensor& tensor) {
  if (const Json* target = JsonFind(data, "target_dtype")) {
    tensor.bits = IntegerBits(Text(target));
    if (tensor.bits == 0) return Unsupported("{}: target_dtype is {}", where, target->dump());
  }
  if (!JsonFind(data, "elem_dtype")) return {};
  NIBBLE_TRY(tensor.element, ElementType(data, where));
  return {};
}

// ---- recipes -----------------------------------------------------------------------------------------------------------------

// Bits per weight of a recipe: {"_type": "Int4WeightOnlyConfig", "_data": {...}} or an old name.
double RecipeBits(const Json* recipe) {
  if (!recipe) return 0;
  const std::string type = recipe->is_string() ? recipe->get<std::string>() : TypeName(recipe);
  const Json empty = Json::object();
  const Json* data = recipe->is_object() ? Data(recipe) : &empty;
  if (!data->is_object()) data = &empty;
  const auto has = [&](std::string_view part) { return type.find(part) != std::string::npos; };
  const Json* group = JsonFind(*data, "group_size");
  const double size = group && group->is_number() && group->get<double>() > 0 ? group->get<double>() : 128;
  if (has("NVFP4")) return 4.5;
  if (has("MX")) return Text(JsonFind(*data, "weight_dtype")).starts_with("float4") ? 4.25 : 8.25;
  if (has("IntxWeight") || has("Int4WeightConfig")) return 8 + 24.0 / size;  // a byte a code, bf16 scale, int8 zero point
  if (has("Int4") || has("int4")) return 4 + 32.0 / size;
  if (has("Int8") || has("int8") || has("loat8")) return 8;
  return 16;  // unknown recipes
}

Status ParseFqn(const Json& table, const std::string& where, TorchaoConfig& config) {
  const Json* entries = Data(&table);
  if (const Json* inner = JsonFind(*entries, "fqn_to_config")) entries = inner;
  if (const Json* inner = JsonFind(*entries, "module_fqn_to_config")) entries = inner;
  if (!entries->is_object()) return Corrupt("{}: fqn_to_config is {}, wanted an object", where, entries->type_name());
  for (const auto& [name, recipe] : entries->items()) {
    const double bits = recipe.is_null() ? 0 : RecipeBits(&recipe);
    if (name == "_default") {
      config.default_bits = bits;
    } else if (name.starts_with("re:")) {
      NIBBLE_TRY(NamePattern pattern, NamePattern::Compile("^(?:" + name.substr(3) + ")$", where + ", fqn_to_config"));
      config.patterns.push_back({std::move(pattern), bits});
    } else {
      config.names[name.ends_with(".weight") ? name.substr(0, name.size() - 7) : name] = bits;
    }
  }
  return {};
}

}  // namespace

Result<TorchaoTensor> TorchaoTensor::Parse(const std::string& text, const std::string& where) {
  NIBBLE_TRY(const Json json, ParseJson(text, where));
  if (!json.is_object()) return Corrupt("{}: found {}, wanted an object", where, json.type_name());
  TorchaoTensor tensor;
  tensor.type = TypeName(&json);
  const Json* data = JsonFind(json, "_data");
  if (!data || !data->is_object()) return tensor;  // "Tensor"
  NIBBLE_RETURN_IF_ERROR(ParseTorchaoBlock(*data, where, tensor));
  NIBBLE_RETURN_IF_ERROR(ParseTorchaoActivations(*data, where, tensor));
  NIBBLE_RETURN_IF_ERROR(ParseElement(*data, where, tensor));
  tensor.swizzled = True(*data, "is_swizzled_scales");
  if (const Json* shape = JsonFind(*data, "shape"); shape && shape->is_array() && shape->size() == 2) {
    const Json &n = (*shape)[0], &k = (*shape)[1];
    if (!n.is_number_integer() || !k.is_number_integer() || n.get<int64_t>() < 1 || k.get<int64_t>() < 1)
      return Corrupt("{}: shape is {}", where, shape->dump());
    tensor.n = n.get<int64_t>();
    tensor.k = k.get<int64_t>();
  }
  return tensor;
}

Result<TorchaoConfig> TorchaoConfig::Parse(const Json& json, const std::string& where) {
  NIBBLE_RETURN_IF_ERROR(CheckKeys(
      json, where, {"quant_method", "quant_type", "quant_type_kwargs", "modules_to_not_convert", "include_input_output_embeddings"},
      {"untie_embedding_weights"}));
  TorchaoConfig config;
  const Json* type = JsonFind(json, "quant_type");
  if (!type) return Corrupt("{}: quant_type is missing", where);
  if (type->is_object() && JsonFind(*type, "default")) type = JsonFind(*type, "default");
  config.summary = type->is_string() ? type->get<std::string>() : TypeName(type);
  if (config.summary.empty()) return Corrupt("{}: quant_type is {}, wanted a recipe", where, type->dump());
  if (config.summary.find("FqnToConfig") != std::string::npos) {
    NIBBLE_RETURN_IF_ERROR(ParseFqn(*type, where, config));
  } else {
    config.default_bits = RecipeBits(type);
  }
  if (const Json* names = JsonFind(json, "modules_to_not_convert")) {
    if (!names->is_array()) return Corrupt("{}: modules_to_not_convert is {}, wanted a list", where, names->type_name());
    for (const Json& name : *names) {
      if (!name.is_string()) return Corrupt("{}: modules_to_not_convert holds {}, wanted names", where, name.type_name());
      config.skipped.push_back(name.get<std::string>());
    }
  }
  NIBBLE_TRY_IN(where, config.embeddings, JsonBool(json, "include_input_output_embeddings", false));
  return config;
}

double TorchaoConfig::Bits(const std::string& module) const {
  const std::string dotted = "." + module + ".";
  const auto skips = [&](const std::string& name) { return dotted.find("." + name + ".") != std::string::npos; };
  if (std::any_of(skipped.begin(), skipped.end(), skips)) return 0;
  if (const auto exact = names.find(module); exact != names.end()) return exact->second;
  for (const Rule& rule : patterns)
    if (rule.pattern.Matches(module)) return rule.bits;
  return default_bits;
}

}  // namespace nibble
