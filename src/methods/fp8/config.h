// SPDX-License-Identifier: Apache-2.0
// quantization_config of quant_method "fp8" (DeepSeek, transformers' fine-grained FP8, AutoFP8, GPTQModel); keys in README.md.
#pragma once

#include <string>
#include <vector>

#include "methods/name_pattern.h"
#include "methods/registry.h"

namespace nibble {

struct Fp8Config {
  enum Scheme : uint8_t {
    kFloat,
    kDynamic,
    kStatic
  } activations = kFloat;            // kFloat: the config names no scheme (weight-only files)
  int64_t block_n = 0, block_k = 0;  // weight_block_size, 0 when scales are per tensor or row
  bool pow2_scales = false;          // scale_fmt ue8m0: activations too
  bool inverse = false;              // GPTQModel: weight_scale_inv divides
  bool kv_cache = false;             // kv_cache_scheme asks for an FP8 cache
  float upper_bound = 0;             // activation_scale_ub of fbgemm_fp8
  std::vector<std::string> ignored;  // exact names
  std::vector<NamePattern> ignored_patterns;

  static Result<Fp8Config> Parse(const Json& json, const std::string& where);
};

}  // namespace nibble
