// SPDX-License-Identifier: Apache-2.0
#include "methods/bitsandbytes/config.h"

#include "methods/registry.h"

namespace nibble {
namespace {

constexpr int64_t kMaxState = 1 << 16;          // bytes of a quant_state
constexpr int64_t kMaxSize = int64_t{1} << 31;  // of a dimension or a block

Status CheckBitsandbytesKeys(const Json& json, const std::string& where) {
  return CheckKeys(json, where,
                   {"quant_method", "method", "load_in_4bit", "load_in_8bit", "_load_in_4bit", "_load_in_8bit",
                    "bnb_4bit_use_double_quant", "llm_int8_threshold", "llm_int8_skip_modules"},
                   // The tensors tell: storage, table, blocks. Compute dtypes are the tool's own.
                   {"bnb_4bit_compute_dtype",
                    "bnb_4bit_quant_storage",
                    "bnb_4bit_quant_type",
                    "llm_int8_enable_fp32_cpu_offload",
                    "llm_int8_has_fp16_weight",
                    "bits",
                    "group_size",
                    "format",
                    "checkpoint_format",
                    "desc_act",
                    "sym",
                    "lm_head",
                    "pack_dtype",
                    "meta",
                    "dynamic",
                    "true_sequential",
                    "modules_in_block_to_quantize",
                    "block_size",
                    "blocksize",
                    "compress_statistics",
                    "provider"});
}

Result<bool> Flag(const Json& json, const std::string& where, const char* key) {
  NIBBLE_TRY_IN(where, const bool plain, JsonBool(json, key, false));
  NIBBLE_TRY_IN(where, const bool private_spelling, JsonBool(json, std::string("_") + key, plain));
  return plain || private_spelling;
}

Result<int64_t> Positive(const Json& json, const std::string& where, const char* key, std::optional<int64_t> fallback = {}) {
  NIBBLE_TRY_IN(where, const int64_t value, JsonInt(json, key, fallback));
  if (value < 1 || value > kMaxSize) return Corrupt("{}: {} is {}", where, key, value);
  return value;
}

}  // namespace

Result<BnbConfig> BnbConfig::Parse(const Json& json, const std::string& where) {
  BnbConfig config;
  NIBBLE_RETURN_IF_ERROR(CheckBitsandbytesKeys(json, where));
  NIBBLE_TRY(const bool four, Flag(json, where, "load_in_4bit"));
  NIBBLE_TRY(const bool eight, Flag(json, where, "load_in_8bit"));
  if (four && eight) return Corrupt("{}: load_in_4bit and load_in_8bit are both true; one of them must go", where);
  config.load = four ? k4Bit : eight ? k8Bit : kUnsaid;
  NIBBLE_TRY_IN(where, config.nested, JsonBool(json, "bnb_4bit_use_double_quant", false));
  NIBBLE_TRY_IN(where, const double threshold, JsonNumber(json, "llm_int8_threshold", 6.0));
  if (!(threshold >= 0)) return Corrupt("{}: llm_int8_threshold is {}, wanted 0 or more", where, threshold);
  config.int8_threshold = static_cast<float>(threshold);
  if (const Json* names = JsonFind(json, "llm_int8_skip_modules")) {
    if (!names->is_array()) return Corrupt("{}: llm_int8_skip_modules is {}, wanted a list", where, names->type_name());
    for (const Json& name : *names) {
      if (!name.is_string()) return Corrupt("{}: llm_int8_skip_modules holds {}, wanted names", where, name.type_name());
      config.skipped.push_back(name.get<std::string>());
    }
  } else {
    config.skipped.push_back("lm_head");
  }
  return config;
}

Result<BnbQuantState> BnbQuantState::Parse(const TensorView& bytes, const std::string& where) {
  if (bytes.size_bytes() > kMaxState) return Corrupt("{}: {} bytes, wanted some JSON", where, bytes.size_bytes());
  const std::string_view text(reinterpret_cast<const char*>(bytes.data), static_cast<size_t>(bytes.size_bytes()));
  NIBBLE_TRY(const Json json, ParseJson(text, where));
  if (!json.is_object()) return Corrupt("{}: found {}, wanted an object", where, json.type_name());
  BnbQuantState state;
  NIBBLE_TRY_IN(where, state.quant_type, JsonString(json, "quant_type"));
  NIBBLE_TRY(state.blocksize, Positive(json, where, "blocksize"));
  const Json* shape = JsonFind(json, "shape");
  if (!shape || !shape->is_array() || shape->size() != 2 || !(*shape)[0].is_number_integer() || !(*shape)[1].is_number_integer())
    return Corrupt("{}: shape is {}, wanted two numbers", where, shape ? shape->dump() : "absent");
  state.n = (*shape)[0].get<int64_t>();
  state.k = (*shape)[1].get<int64_t>();
  if (state.n < 1 || state.k < 1 || state.n > kMaxSize || state.k > kMaxSize)
    return Corrupt("{}: shape is {}", where, shape->dump());
  if (!JsonFind(json, "nested_blocksize")) return state;
  NIBBLE_TRY(state.nested_blocksize, Positive(json, where, "nested_blocksize"));
  NIBBLE_TRY_IN(where, const double offset, JsonNumber(json, "nested_offset"));
  state.nested_offset = static_cast<float>(offset);
  return state;
}

}  // namespace nibble
