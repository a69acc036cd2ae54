// SPDX-License-Identifier: Apache-2.0
// quantization_config of quant_method "compressed-tensors" (llm-compressor, AutoRound's llm_compressor export); keys in README.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "methods/name_pattern.h"
#include "methods/registry.h"

namespace nibble {

// QuantizationArgs of weights or activations.
struct CtArgs {
  enum Strategy : uint8_t { kTensor, kChannel, kGroup, kBlock, kToken, kTensorGroup, kAttentionHead } strategy = kTensor;
  enum Dynamic : uint8_t { kStatic, kDynamic, kLocal } dynamic = kStatic;
  int64_t bits = 8;
  bool is_float = false, symmetric = true;
  int64_t group_size = 0, block_n = 0, block_k = 0;
  bool act_order = false;   // actorder "group": columns have their own group map
  std::string scale_dtype;  // "" or "torch.float8_e4m3fn", "torch.uint8" ...
};

// A list of targets or exceptions: exact module names, "re:" expressions, class names.
struct CtTargets {
  std::vector<std::string> names;  // exact modules or classes
  std::vector<NamePattern> patterns;
  // How well a layer is named: 3 by its exact name, 2 by an expression, 1 by its class, 0 not at all.
  int Rank(const LayerQuery& layer) const;
};

struct CtGroup {
  std::string name, format;  // format of this group, the file's where it has none
  CtTargets targets;
  std::optional<CtArgs> weights, inputs, outputs;
};

// One online rotation: x (or y) times a Hadamard matrix of blocks of `block` features (0: all).
struct CtTransform {
  std::string name;  // "R4"; its matrix is stored as "<module>.R4_input.weight" under the first module that uses it
  CtTargets targets, ignore;
  bool output = false, inverse = false;
  int64_t block = 0;
};

struct CtConfig {
  std::string format;
  std::vector<CtGroup> groups;
  CtTargets ignore;
  std::optional<CtArgs> kv_cache;
  std::vector<CtTransform> transforms;

  static Result<CtConfig> Parse(const Json& json, const std::string& where);
  // The group of a layer: exact name before expression before class, then file order; null if none names it.
  const CtGroup* FindGroup(const LayerQuery& layer) const;
};

}  // namespace nibble
