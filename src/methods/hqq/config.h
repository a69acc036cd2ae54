// SPDX-License-Identifier: Apache-2.0
// quantization_config of quant_method "hqq" (transformers' HqqConfig); files of hqq itself have none. Keys in README.md.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "methods/registry.h"

namespace nibble {

struct HqqSettings {
  int64_t bits = 4;
  int64_t group_size = 64;  // -1: one group a row (or column)
  int64_t axis = 1;
  int64_t n = 0, k = 0;  // 0: not stated here
};

struct HqqConfig {
  bool stated = false;                          // there are settings at all
  HqqSettings base;                             // informative where the tensors state their own
  std::map<std::string, HqqSettings> by_layer;  // "self_attn.q_proj": layers that differ; where any are named, others stay plain
  std::vector<std::string> skip_modules;        // a component of the name

  std::map<std::string, HqqSettings, std::less<>> modules;  // what a pickled qmodel.pt says of each module

  static Result<HqqConfig> Parse(const Json& json, const std::string& where);
  // `metadata` as io/torch_file.h leaves it: JSON by module. May be null.
  Status ReadModules(const std::map<std::string, std::string>* metadata);
  // Settings of a module, null: not quantized by them.
  const HqqSettings* Find(const std::string& module) const;
};

}  // namespace nibble
