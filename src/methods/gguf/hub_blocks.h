// SPDX-License-Identifier: Apache-2.0
// GPTQModel's method "gguf": ggml blocks inside a hub folder of safetensors.
#pragma once

#include "methods/registry.h"

namespace nibble {

Result<std::unique_ptr<QuantizationConfig>> GgufBlocksFromConfig(const Json& json, const ConfigSource& source);

}  // namespace nibble
