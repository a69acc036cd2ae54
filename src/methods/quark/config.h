// SPDX-License-Identifier: Apache-2.0
// quantization_config of quant_method "quark" (AMD Quark); keys in README.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "methods/name_pattern.h"
#include "methods/registry.h"

namespace nibble {

// One QTensorConfig: number format and grain of a tensor.
struct QuarkSpec {
  enum Scheme : uint8_t { kPerTensor, kPerChannel, kPerGroup, kPerBlock } scheme = kPerTensor;
  DType element = DType::kNone;  // kI8: integers of `bits`; a small float; kNone: bfloat16, float16, float32 (not quantized)
  int bits = 8;
  bool is_signed = true, symmetric = true, dynamic = false;
  int64_t group = 0, block_n = 0, block_k = 0;
  std::string scale_format;                                    // "e8m0", "float32", "e5m3" ...
  ActivationSpec::ScaleCode mode = ActivationSpec::kPow2Even;  // of e8m0 scales of activations
};
// Specs applied one after the other: one, or a tensor's and its scales' (NVFP4), or two of the tensor (int4 of FP8). Empty: none.
using QuarkSpecs = std::vector<QuarkSpec>;

struct QuarkLayer {
  QuarkSpecs weight, input, output;
};

struct QuarkConfig {
  QuarkLayer global;
  std::vector<std::pair<std::string, QuarkLayer>> layers;  // patterns with '*', or names
  std::optional<QuarkLayer> linear;                        // layer_type_quant_config "Linear"
  std::vector<std::string> excluded;                       // names and wildcards
  std::vector<NamePattern> excluded_patterns;              // "re:"
  bool reorder = true;                                     // pack_method: AWQ's nibble order
  QuarkSpecs kv_output;                                    // of k_proj and v_proj: kv_cache_quant_config

  static Result<QuarkConfig> Parse(const Json& json, const ConfigSource& source);
  bool Excludes(const LayerQuery& layer) const;
  // layer_quant_config before layer_type_quant_config before global.
  const QuarkLayer& LayerOf(const LayerQuery& layer) const;
};

}  // namespace nibble
