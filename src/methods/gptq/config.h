// SPDX-License-Identifier: Apache-2.0
// quantization_config of quant_method "gptq" (AutoGPTQ, GPTQModel, Optimum, AutoRound's gptq export); keys in README.md.
#pragma once

#include <optional>
#include <vector>

#include "methods/name_pattern.h"
#include "methods/registry.h"

namespace nibble {

enum class GptqFormat : uint8_t { kV1, kV2, kGemm };  // kGemm: AWQ's layout under the name gptq

struct GptqSettings {
  int64_t bits = 4;
  int64_t group_size = 128;  // -1: one group
  bool sym = true;
  bool desc_act = false;  // informative: the stored g_idx decides
};

// One entry of `dynamic`.
struct GptqRule {
  NamePattern pattern;
  bool skip = false;  // "-:"
  std::optional<int64_t> bits, group_size;
  std::optional<bool> sym, desc_act;
};

struct GptqConfig {
  GptqSettings base;
  GptqFormat format = GptqFormat::kV1;
  bool lm_head = false;
  bool static_groups = false;
  std::string rotation;                       // "", "hadamard", "random"
  std::vector<std::string> modules_in_block;  // empty: all; else a module is quantized if its name contains one
  std::vector<GptqRule> rules;                // skips first, as the tool tests them; the first match decides

  static Result<GptqConfig> Parse(const Json& json, const std::string& where);
  // The rule that decides for a module, or null.
  const GptqRule* FindRule(const std::string& name, const std::string& fused_name) const;
  GptqSettings SettingsOf(const GptqRule* rule) const;
};

}  // namespace nibble
