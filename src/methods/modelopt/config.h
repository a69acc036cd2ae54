// SPDX-License-Identifier: Apache-2.0
// Settings of NVIDIA ModelOpt: quantization_config of config.json or hf_quant_config.json; keys in README.md.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "methods/registry.h"

namespace nibble {

// What a quant_algo means for one layer.
struct ModelOptAlgo {
  enum Weights : uint8_t { kFp8, kInt8, kInt4, kNvfp4, kMxfp4, kMxfp8 };
  enum Activations : uint8_t { kFloat, kFp8Static, kFp8Tensor, kFp8Token, kInt8Static, kNvfp4Local, kMx };
  std::string_view name;  // lower case
  Weights weights;
  Activations activations;
  double bits;  // of a weight with its scales
};

struct ModelOptConfig {
  const ModelOptAlgo* algo = nullptr;                 // of every layer; null when `layers` tells
  std::map<std::string, const ModelOptAlgo*> layers;  // quantized_layers of MIXED_PRECISION
  std::vector<std::string> excluded;                  // names, parts of names, wildcards
  enum KvCache : uint8_t { kNoKv, kFp8Kv, kNvfp4Kv, kOtherKv } kv_cache = kNoKv;
  std::string kv_name;  // as written
  // The presets MXFP4_DEFAULT and MXFP4_MLP_WEIGHT_ONLY write the same settings but for the excluded attention of the second.
  bool mxfp4_weights_only = false;

  static Result<ModelOptConfig> Parse(const Json& json, const std::string& where);
  // The scheme of a layer by its name, a fused name, or the block of experts it belongs to; null: not quantized.
  const ModelOptAlgo* AlgoOf(const LayerQuery& layer) const;
  // A layer's scheme, with float activations where mxfp4_weights_only says so.
  ModelOptAlgo RunAs(ModelOptAlgo layer) const;
};

}  // namespace nibble
