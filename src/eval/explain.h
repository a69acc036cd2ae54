// SPDX-License-Identifier: Apache-2.0
// Which kernel every layer gets on this machine and why better candidates refused, without packing anything; and the same for
// number formats as such.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "models/loader.h"

namespace nibble {

struct ExplainedPart {
  std::string name;  // layer and expert numbers as "*": "model.layers.*.self_attn.q_proj"
  int64_t n = 0, k = 0;
  std::string method, format;
  std::string activation;                                    // what is done to x: "f32", "int8 per token, dynamic"
  std::array<std::string, kMBuckets> kernels;                // for m = 1, 2..8, 9..64, more
  std::vector<std::pair<std::string, std::string>> refused;  // candidate, why
};

struct ExplainedLayer {
  std::vector<int64_t> layers;       // numbers of the layers that are alike; empty: outside of layers
  int64_t count = 0;                 // products alike, experts counted each
  std::vector<ExplainedPart> parts;  // parts that share x and run as one product
};

struct Explanation {
  std::string method, isa;
  bool from_config_alone = false;
  std::vector<ExplainedLayer> layers;
  std::string kv_scheme;  // what the checkpoint asks of the K/V cache; empty: nothing
};

inline constexpr const char* kBucketNames[kMBuckets] = {"m=1", "m=2..8", "m=9..64", "m>64"};

// Binds the checkpoint's weights; of a config alone, weights of the method's usual form stand in. Errors as in LoadModel.
Result<Explanation> ExplainModel(Checkpoint& checkpoint, const LoadOptions& options);

// "0-3, 5, 7-9"
std::string RangesOf(const std::vector<int64_t>& numbers);

// "f32", "int8 per token, dynamic", "e4m3 groups of 128, dynamic".
std::string DescribeActivation(const ActivationSpec& spec);

// A weight of this format without data: answers questions about support, is never decoded. bits: of its codes, where the format
// leaves it open.
LinearPart SketchWeight(FormatId format, int bits, int64_t n, int64_t k);

// Kernel that a weight of this format gets here for one row: "strip64.avx2.gemv"; empty when the build has nothing for it.
std::string KernelForFormat(FormatId format, const Machine& machine);

}  // namespace nibble
