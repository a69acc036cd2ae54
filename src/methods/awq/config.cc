// SPDX-License-Identifier: Apache-2.0
#include "methods/awq/config.h"

#include <algorithm>
#include <cctype>

#include "methods/name_list.h"

namespace nibble {
namespace {

Result<AwqVersion> ParseVersion(const Json& json, const std::string& where) {
  std::string version;
  for (const char* key : {"version", "checkpoint_format", "format", "backend"}) {
    NIBBLE_TRY(std::string value, JsonString(json, key, ""));
    std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (std::string_view(key) == "backend" && value != "llm-awq") continue;  // others are ways of running
    if (value.empty()) continue;
    if (!version.empty() && version != value) return Corrupt("{}: {} \"{}\" contradicts \"{}\"", where, key, value, version);
    version = value;
  }
  // exllama and ipex name a kernel of the tool, not a layout.
  if (version.empty() || version == "gemm" || version == "exllama" || version == "exllamav2" || version == "ipex")
    return AwqVersion::kGemm;
  if (version == "gemv") return AwqVersion::kGemv;
  // llm-awq's own files have gemv_fast's layout with zero points under another name.
  if (version == "gemv_fast" || version == "llm-awq" || version == "llm_awq") return AwqVersion::kGemvFast;
  if (version == "marlin") return AwqVersion::kMarlin;
  return Unsupported("{}: version \"{}\"; readable are gemm, gemv, gemv_fast, marlin", where, version);
}

// The value of the first key that is present.
Result<int64_t> FirstInt(const Json& json, std::initializer_list<std::string_view> keys, int64_t fallback) {
  for (const std::string_view key : keys) {
    if (JsonFind(json, key)) return JsonInt(json, key);
  }
  return fallback;
}

Status CheckAwqKeys(const Json& json, const std::string& where) {
  return CheckKeys(json, where,
                   {"quant_method", "method", "bits", "w_bit", "group_size", "q_group_size", "zero_point", "version",
                    "checkpoint_format", "format", "modules_to_not_convert", "lm_head", "pack_dtype", "dynamic", "backend"},
                   {"do_fuse",
                    "fuse_max_seq_len",
                    "modules_to_fuse",
                    "exllama_config",
                    "meta",
                    "desc_act",
                    "sym",
                    "true_sequential",
                    "provider",
                    "autoround_version",
                    "iters",
                    "data_type",
                    "seqlen",
                    "nsamples",
                    "block_name_to_quantize",
                    "packing_format",
                    "damp_percent",
                    "static_groups",
                    "act_group_aware",
                    "packed_modules_mapping"});
}

}  // namespace

Result<AwqConfig> AwqConfig::Parse(const Json& json, const ConfigSource& source) {
  const std::string& where = source.where;
  AwqConfig config;
  NIBBLE_RETURN_IF_ERROR(CheckAwqKeys(json, where));
  NIBBLE_TRY_IN(where, const int64_t bits, FirstInt(json, {"bits", "w_bit"}, 4));
  if (bits < 2 || bits > 8) return Corrupt("{}: bits is {}, wanted 2 to 8", where, bits);
  config.layout.bits = static_cast<int>(bits);
  NIBBLE_TRY_IN(where, config.layout.group_size, FirstInt(json, {"group_size", "q_group_size"}, 128));
  if (config.layout.group_size == 0 || config.layout.group_size < -1) {
    return Corrupt("{}: group_size is {}, wanted -1 or a positive number", where, config.layout.group_size);
  }
  NIBBLE_TRY_IN(where, config.zero_point, JsonBool(json, "zero_point", true));
  NIBBLE_TRY(config.rules, ModuleRules::Parse(json, source));
  NIBBLE_TRY(config.layout.version, ParseVersion(json, where));
  NIBBLE_TRY(config.modules_to_not_convert, NameList(json, "modules_to_not_convert", where));
  return config;
}

AwqLayout AwqConfig::LayoutOf(const LayerQuery& layer) const {
  AwqLayout own = layout;
  if (const ModuleRule* rule = rules.Find(layer); rule && !rule->skip) {
    own.bits = static_cast<int>(rule->bits.value_or(own.bits));
    own.group_size = rule->group_size.value_or(own.group_size);
  }
  return own;
}

}  // namespace nibble
