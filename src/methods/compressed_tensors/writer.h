// SPDX-License-Identifier: Apache-2.0
// StoredWeight -> the tensors and the config group of a compressed-tensors checkpoint. Exact: codes, scales and zero points keep
// their bits, so reading what was written gives the same weight.
#pragma once

#include <string>
#include <vector>

#include "methods/method.h"

namespace nibble {

struct CtTensor {
  std::string suffix;  // "weight_packed"
  Tensor tensor;
};

struct CtWritten {
  std::vector<CtTensor> tensors;
  Json group;  // weights, input_activations, output_activations, format; without targets
};

// format: "pack-quantized", "int-quantized" (a byte a code), "float-quantized", or "" for what the tools choose: floats
// float-quantized, 8-bit integers with quantized activations int-quantized, other integers pack-quantized. Unsupported, with the
// reason, for what the format cannot say: transforms, low-rank factors, row maps, slices that begin inside a block, two levels of
// scales, real zero points, zero points outside [0, 2^bits), codes that are neither integers nor e4m3.
Result<CtWritten> WriteCtWeight(const StoredWeight& weight, const ActivationSpec& act, std::string_view format = "");

// quantization_config of a file: one entry of config_groups for each (group, targets), and the exceptions.
Json MakeCtConfig(const std::vector<std::pair<Json, std::vector<std::string>>>& groups, const std::vector<std::string>& ignore);

}  // namespace nibble
