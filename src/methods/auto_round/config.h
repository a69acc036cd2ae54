// SPDX-License-Identifier: Apache-2.0
// quantization_config of quant_method "auto-round" (Intel AutoRound, Neural Compressor); keys in README.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "methods/name_pattern.h"
#include "methods/registry.h"

namespace nibble {

// What codes are. Which of them a module has is seen by its tensors; the settings name the float types.
enum class AutoRoundData : uint8_t { kInt, kFp, kMxInt, kMxFp, kNvFp };

enum class AutoRoundPacking : uint8_t {
  kGptqV1,  // auto_gptq: zero points minus one
  kGptqV2,  // auto_round's own, gptqmodel: zero points as they are
  kAwq,     // AWQ GEMM
  kMlx,     // MLX's weight, scales, biases
  kOther,   // llm_compressor and others: names of compressed-tensors
};

struct AutoRoundSettings {
  int64_t bits = 4, group_size = 128;
  int64_t block_n = 1;  // rows that share a scale: FP8_BLOCK
  bool sym = true;
  AutoRoundData data = AutoRoundData::kInt;
  int64_t act_bits = 16, act_group_size = -1;
  bool act_sym = true, act_dynamic = true;
  AutoRoundData act_data = AutoRoundData::kInt;
  bool act_ceil = false;  // mx_fp_rceil: the shared exponent is rounded up

  bool quantized() const { return bits < 16; }
};

// One entry of extra_config.
struct AutoRoundRule {
  std::string name;                    // exact, or the end of a module's name after a dot
  std::optional<NamePattern> pattern;  // names with characters of regular expressions: searched
  AutoRoundSettings settings;
};

struct AutoRoundConfig {
  AutoRoundSettings base;
  AutoRoundPacking packing = AutoRoundPacking::kGptqV1;
  int64_t rotation = 0;              // block of a Hadamard matrix applied to x; 0: none
  bool random_rotation = false;      // every module has its own matrix
  std::vector<std::string> blocks;   // a module is quantized if its name begins with one; empty: all
  std::vector<AutoRoundRule> rules;  // in the file's order

  static Result<AutoRoundConfig> Parse(const Json& json, const ConfigSource& source);
  // Settings of a module; bits of 16: stored plain.
  AutoRoundSettings Find(const LayerQuery& layer) const;
};

}  // namespace nibble
