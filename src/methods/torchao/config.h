// SPDX-License-Identifier: Apache-2.0
// What a torchao checkpoint says of itself: config.json names a recipe for each module, and the metadata of the files describes
// every tensor subclass. The metadata is the authority; the recipe serves plans made without files.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "formats/activation.h"
#include "io/json.h"
#include "methods/name_pattern.h"

namespace nibble {

// One tensor subclass, from its JSON in the metadata.
struct TorchaoTensor {
  std::string type;                  // "Int8Tensor"
  int64_t block_n = 0, block_k = 0;  // elements that share a scale; 0: the whole extent
  int64_t n = 0, k = 0;              // of the tensor it stands for, where that is written; 0: not
  DType element = DType::kNone;      // MX: of the codes
  int bits = 8;                      // intx: of the codes
  bool swizzled = false;
  ActivationSpec act;  // static values still missing

  static Result<TorchaoTensor> Parse(const std::string& text, const std::string& where);
};

struct TorchaoConfig {
  struct Rule {  // of an FqnToConfig
    NamePattern pattern;
    double bits = 0;  // 0: stays plain
  };
  std::string summary;      // "Int8WeightOnlyConfig"
  double default_bits = 0;  // bits per weight, for plans
  std::map<std::string, double> names;
  std::vector<Rule> patterns;
  std::vector<std::string> skipped;
  bool embeddings = false;

  static Result<TorchaoConfig> Parse(const Json& json, const std::string& where);
  // Estimated bits of a module, 0: plain.
  double Bits(const std::string& module) const;
};

}  // namespace nibble
