// SPDX-License-Identifier: Apache-2.0
// `quantization` of config.json as mlx-lm and auto-round's mlx export write it; keys in README.md.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "methods/registry.h"

namespace nibble {

enum class MlxMode : uint8_t { kAffine, kMxFp4, kMxFp8, kNvFp4 };

struct MlxSettings {
  int64_t bits = 4;
  int64_t group_size = 64;
  MlxMode mode = MlxMode::kAffine;
};

struct MlxConfig {
  MlxSettings base;
  std::map<std::string, std::optional<MlxSettings>, std::less<>> modules;  // nullopt: not quantized

  static Result<MlxConfig> Parse(const Json& json, const std::string& where);
  // What the settings say of a module; nullopt: not quantized.
  std::optional<MlxSettings> Find(std::string_view module) const;
};

std::string_view MlxModeName(MlxMode mode);

}  // namespace nibble
