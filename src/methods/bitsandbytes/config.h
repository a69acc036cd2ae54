// SPDX-License-Identifier: Apache-2.0
// The settings of a bitsandbytes checkpoint, and of one of its 4-bit tensors.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "tensors/tensor_view.h"

namespace nibble {

struct BnbConfig {
  enum Load : uint8_t { kUnsaid, k4Bit, k8Bit } load = kUnsaid;  // tensors decide, this must not contradict them
  bool nested = false;                                           // for estimates
  float int8_threshold = 6;                                      // 0: no outliers
  std::vector<std::string> skipped;

  static Result<BnbConfig> Parse(const Json& json, const std::string& where);
};

// The JSON that stands as bytes in quant_state.
struct BnbQuantState {
  int64_t n = 0, k = 0, blocksize = 0;
  std::string quant_type;  // "nf4", "fp4": the table in quant_map tells the values
  int64_t nested_blocksize = 0;
  float nested_offset = 0;

  static Result<BnbQuantState> Parse(const TensorView& bytes, const std::string& where);
};

}  // namespace nibble
