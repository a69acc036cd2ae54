// SPDX-License-Identifier: Apache-2.0
// quantization_config of quant_method "gptq" (AutoGPTQ, GPTQModel, Optimum, AutoRound's gptq export); keys in README.md.
#pragma once

#include <vector>

#include "methods/module_rules.h"
#include "methods/registry.h"

namespace nibble {

// kGemm, kGemv, kGemvFast: AWQ's layouts under the name gptq (GPTQModel's RTN). kMarlin: `B` and `s` of AutoGPTQ, or `qweight` and
// `scales`, in Marlin's tiles.
enum class GptqFormat : uint8_t { kV1, kV2, kPlanar, kGemm, kGemv, kGemvFast, kMarlin, kMarlin24, kBitBlas };

struct GptqSettings {
  int64_t bits = 4;
  int64_t group_size = 128;  // -1: one group
  bool sym = true;
  bool desc_act = false;  // informative: the stored g_idx decides
};

struct GptqConfig {
  GptqSettings base;
  GptqFormat format = GptqFormat::kV1;
  int word_bits = 32;    // pack_dtype
  bool rescale = false;  // zeros_mode of BitBLAS
  bool static_groups = false;
  bool fp8_activations = false;               // `activation`: w4afp8
  std::string rotation;                       // "", "hadamard", "random"
  std::vector<std::string> modules_in_block;  // empty: all; else a module is quantized if its name contains one
  ModuleRules rules;

  static Result<GptqConfig> Parse(const Json& json, const ConfigSource& source);
  // Under the rule that decides for a module; null: none does.
  GptqSettings SettingsOf(const ModuleRule* rule) const;
};

}  // namespace nibble
