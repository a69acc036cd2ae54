// SPDX-License-Identifier: Apache-2.0
// A rounder turns one float matrix into a stored one: (W, statistics, options) -> StoredWeight over codes that it owns. Pure: the
// same input gives the same bits, whatever the number of threads. One folder quantizers/<name>/ each, with rounder.cc; found by the
// build.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/thread_team.h"
#include "formats/stored_weight.h"
#include "quantizers/scheme.h"

namespace nibble {

// What calibration knows about a layer's inputs.
struct LayerStatistics {
  std::span<const float> importance;  // [k], weight of each column's squared error; empty: all alike
};

struct RoundOptions {
  bool scale_search = true;         // try other scales than the one that covers the largest weight
  DType scale_dtype = DType::kF32;  // f32, f16 or bf16: what scales are stored as
};

struct RoundRequest {
  std::string name;          // of the module, for messages and Origin
  const float* w = nullptr;  // [n][k]
  int64_t n = 0, k = 0;
  WeightScheme scheme;  // groups divide k
  LayerStatistics statistics;
  RoundOptions options;
  ThreadTeam* team = nullptr;  // never null
};

struct Quantizer {
  std::string_view name;     // folder name, "rtn"
  std::string_view summary;  // one line for reports
  bool needs_statistics = false;
  // Corrupt, with the module's name, row and column, for a weight that is not finite; Unsupported for schemes that it cannot make.
  Result<StoredWeight> (*round)(const RoundRequest& request) = nullptr;
};

const std::vector<const Quantizer*>& QuantizerTable();  // generated

// Null if unknown.
inline const Quantizer* FindQuantizer(std::string_view name) {
  for (const Quantizer* quantizer : QuantizerTable())
    if (quantizer->name == name) return quantizer;
  return nullptr;
}

}  // namespace nibble
