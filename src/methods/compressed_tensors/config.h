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

// One online rotation: x (or y) times a matrix, by blocks of `block` features (0: all).
struct CtTransform {
  enum Kind : uint8_t {
    kSylvester,  // the Hadamard matrix of that name, which needs no file
    kHadamard,   // some matrix of +-1, divided by the root of its size; inverse: transposed
    kAnyMatrix,  // as it is stored, inverses too
  } kind = kSylvester;
  std::string name;  // "R4"; its matrix is stored as "<module>.R4_input.weight" under the first module that uses it
  CtTargets targets, ignore;
  bool output = false, inverse = false, randomize = false;  // randomize: rows and columns permuted by a stored "perm"
  int64_t block = 0;
};

struct CtConfig {
  std::string format;
  std::vector<CtGroup> groups;
  CtTargets ignore;
  std::optional<CtArgs> kv_cache;
  std::vector<CtTransform> transforms;
  // The weights of format "dense" are to be quantized when they are used (saved before they were compressed); else they are plain.
  bool uncompressed = false;
  // Keys are turned before they are cached: the scales of kv_cache are those of turned keys.
  bool turns_keys = false;

  static Result<CtConfig> Parse(const Json& json, const std::string& where);
  // The group of a layer: exact name before expression before class, then file order; null if none names it.
  const CtGroup* FindGroup(const LayerQuery& layer) const;
};

}  // namespace nibble
