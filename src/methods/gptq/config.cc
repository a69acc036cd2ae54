// SPDX-License-Identifier: Apache-2.0
#include "methods/gptq/config.h"

#include "base/log.h"

namespace nibble {
namespace {

Result<GptqFormat> ParseGptqFormat(const Json& json, const std::string& where) {
  NIBBLE_TRY(const std::string old_name, JsonString(json, "checkpoint_format", ""));
  NIBBLE_TRY(const std::string new_name, JsonString(json, "format", ""));
  NIBBLE_TRY(const bool old_marlin, JsonBool(json, "is_marlin_format", false));
  if (!old_name.empty() && !new_name.empty() && old_name != new_name) {
    return Corrupt("{}: checkpoint_format \"{}\" contradicts format \"{}\"", where, old_name, new_name);
  }
  NIBBLE_TRY(const std::string method, JsonString(json, "quant_method", ""));
  NIBBLE_TRY(const bool bitblas, JsonBool(json, "is_bitblas_format", method == "bitblas"));
  const std::string name = bitblas                            ? "bitblas"
                           : old_marlin || method == "marlin" ? "marlin"
                           : old_name.empty()                 ? new_name
                                                              : old_name;
  if (name.empty() || name == "gptq") return GptqFormat::kV1;
  if (name == "gptq_v2") return GptqFormat::kV2;
  if (name == "gptq_p") return GptqFormat::kPlanar;
  if (name == "gemm") return GptqFormat::kGemm;
  if (name == "gemv") return GptqFormat::kGemv;
  if (name == "gemv_fast" || name == "llm-awq") return GptqFormat::kGemvFast;
  if (name == "marlin") return GptqFormat::kMarlin;
  if (name == "marlin_24") return GptqFormat::kMarlin24;
  if (name == "bitblas") return GptqFormat::kBitBlas;
  return Unsupported(
      "{}: checkpoint_format \"{}\"; readable are gptq, gptq_v2, gptq_p, gemm, gemv, gemv_fast, llm-awq, marlin, marlin_24, "
      "bitblas",
      where, name);
}

Status CheckSettings(const GptqSettings& settings, const std::string& where) {
  if (settings.bits < 1 || settings.bits > 8) return Corrupt("{}: bits is {}, wanted 1 to 8", where, settings.bits);
  if (settings.group_size == 0 || settings.group_size < -1) {
    return Corrupt("{}: group_size is {}, wanted -1 or a positive number", where, settings.group_size);
  }
  return {};
}

// Other words than 32 bits exist in GPTQ's own two layouts only, and for widths that fill them.
Result<int> ParseWordBits(const Json& json, const GptqConfig& config) {
  NIBBLE_TRY(const std::string name, JsonString(json, "pack_dtype", "int32"));
  if (name == "int32" || config.format == GptqFormat::kGemvFast) return 32;  // gemv_fast is int16 by nature
  if (name != "int8" && name != "int16") {
    return Unsupported("pack_dtype \"{}\"; readable are int8, int16, int32: save the model again with pack_dtype int32", name);
  }
  const bool own = config.format == GptqFormat::kV1 || config.format == GptqFormat::kV2;
  const int64_t bits = config.base.bits;
  if (!own || (bits != 2 && bits != 4 && bits != 8)) {
    return Unsupported("pack_dtype \"{}\" with {} bits in this checkpoint_format; readable with gptq and gptq_v2 of 2, 4, 8 bits",
                       name, bits);
  }
  return name == "int8" ? 8 : 16;
}

// What GPTQModel does to x: a mode, or an object with one. NVFP4 streams have recipes of their own for the scales of x.
Result<bool> ParseActivation(const Json& json, const std::string& where) {
  const Json* value = JsonFind(json, "activation");
  if (value && value->is_object()) value = JsonFind(*value, "mode");
  if (!value) return false;
  if (*value == "w4afp8") return true;
  if (*value != "w4a_nvfp4") return Unsupported("activation is {}; known are \"w4afp8\", \"w4a_nvfp4\"", value->dump());
  Warn("{}: activation \"w4a_nvfp4\": its activations are computed as floats here, not as NVFP4", where);
  return false;
}

// A list of names, or a list of lists of names.
Status ParseModules(const Json& json, const std::string& where, std::vector<std::string>& names) {
  const Json* list = JsonFind(json, "modules_in_block_to_quantize");
  if (!list) return {};
  if (!list->is_array()) return Corrupt("{}: modules_in_block_to_quantize is {}, wanted a list", where, list->type_name());
  for (const Json& item : *list) {
    for (const Json& name : item.is_array() ? item : Json::array({item})) {
      if (!name.is_string()) return Corrupt("{}: modules_in_block_to_quantize holds {}, wanted names", where, name.type_name());
      names.push_back(name.get<std::string>());
    }
  }
  return {};
}

Status CheckGptqKeys(const Json& json, const std::string& where) {
  return CheckKeys(json, where,
                   {"quant_method", "method", "bits", "group_size", "desc_act", "sym", "lm_head", "dynamic", "checkpoint_format",
                    "format", "modules_in_block_to_quantize", "static_groups", "rotation", "pack_dtype", "activation",
                    "is_marlin_format", "is_bitblas_format", "zeros_mode", "fast_decoding"},
                   {"meta",
                    "true_sequential",
                    "damp_percent",
                    "damp_auto_increment",
                    "mse",
                    "act_group_aware",
                    "hyb_act",
                    "v2",
                    "v2_alpha",
                    "model_file_base_name",
                    "model_name_or_path",
                    "autoround_version",
                    "provider",
                    "dataset",
                    "tokenizer",
                    "block_name_to_quantize",
                    "use_exllama",
                    "use_cuda_fp16",
                    "disable_exllama",
                    "exllama_config",
                    "max_input_length",
                    "cache_block_outputs",
                    "module_name_preceding_first_block",
                    "batch_size",
                    "pad_token_id",
                    "model_seqlen",
                    "backend",
                    "iters",
                    "data_type",
                    "seqlen",
                    "nsamples",
                    "lr",
                    "minmax_lr",
                    "low_gpu_mem_usage",
                    "enable_quanted_input",
                    "enable_minmax_tuning",
                    "packing_format",
                    "adapter",
                    "quip",
                    "packed_modules_mapping",
                    "zero_point",
                    "version"});
}

}  // namespace

Result<GptqConfig> GptqConfig::Parse(const Json& json, const ConfigSource& source) {
  const std::string& where = source.where;
  GptqConfig config;
  NIBBLE_RETURN_IF_ERROR(CheckGptqKeys(json, where));
  // The first Marlin checkpoints state group_size alone.
  NIBBLE_TRY_IN(where, const std::string method, JsonString(json, "quant_method", ""));
  NIBBLE_TRY_IN(where, config.base.bits, JsonInt(json, "bits", method == "marlin" ? std::optional<int64_t>(4) : std::nullopt));
  NIBBLE_TRY_IN(where, config.base.group_size, JsonInt(json, "group_size", 128));
  NIBBLE_TRY_IN(where, config.base.sym, JsonBool(json, "sym", true));
  NIBBLE_TRY_IN(where, config.base.desc_act, JsonBool(json, "desc_act", false));
  NIBBLE_TRY_IN(where, config.static_groups, JsonBool(json, "static_groups", false));
  NIBBLE_TRY_IN(where, config.rotation, JsonString(json, "rotation", ""));
  if (!config.rotation.empty() && config.rotation != "hadamard" && config.rotation != "random") {
    return Unsupported("{}: rotation \"{}\"; known are hadamard, random", where, config.rotation);
  }
  NIBBLE_RETURN_IF_ERROR(CheckSettings(config.base, where));
  NIBBLE_TRY(config.format, ParseGptqFormat(json, where));
  NIBBLE_TRY_IN(where, config.fp8_activations, ParseActivation(json, where));
  NIBBLE_TRY_IN(where, config.word_bits, ParseWordBits(json, config));
  NIBBLE_TRY_IN(where, const std::string zeros, JsonString(json, "zeros_mode", "quantized"));
  config.rescale = zeros == "rescale";
  NIBBLE_TRY_IN(where, const bool interleaved, JsonBool(json, "fast_decoding", false));
  if (interleaved && config.format == GptqFormat::kBitBlas) {
    return Unsupported("{}: fast_decoding: codes interleaved for a kernel; readable is BitBLAS' plain order", where);
  }
  NIBBLE_TRY(config.rules, ModuleRules::Parse(json, source));
  NIBBLE_RETURN_IF_ERROR(ParseModules(json, where, config.modules_in_block));
  return config;
}

GptqSettings GptqConfig::SettingsOf(const ModuleRule* rule) const {
  GptqSettings settings = base;
  if (!rule) return settings;
  settings.bits = rule->bits.value_or(base.bits);
  settings.group_size = rule->group_size.value_or(base.group_size);
  settings.sym = rule->sym.value_or(base.sym);
  settings.desc_act = rule->desc_act.value_or(base.desc_act);
  return settings;
}

}  // namespace nibble
