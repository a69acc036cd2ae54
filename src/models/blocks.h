// SPDX-License-Identifier: Apache-2.0
// The decoder that the Llama family shares, for the files in arch/: pre-norm attention, pre-norm gated MLP or experts, residual
// adds. A family says what it has; nothing here asks for a model's name.
#pragma once

#include <functional>
#include <string>

#include "models/architecture.h"

namespace nibble {

struct LlamaLikeOptions {
  bool qkv_bias = false, o_bias = false;
  bool head_norm = false;  // RMS norm of every q and k head, "self_attn.q_norm", "self_attn.k_norm"
  bool tied = false;
  RopeDefaults rope;
  std::function<bool(int64_t layer)> slides;  // sliding window layer, where the config has no layer_types
  // Replaces the dense MLP, except in the layers that `dense` names: returns the block's output.
  std::function<Result<BufferId>(GraphBuilder&, BufferId in, const std::string& layer_prefix)> mlp;
  std::function<bool(int64_t layer)> dense;
};

Result<Graph> BuildLlamaLike(const ModelConfig& config, const LlamaLikeOptions& options, int rank, int ranks);

// norm -> q,k,v; v -> o; norm -> gate,up; up -> down.
std::vector<FoldPoint> LlamaLikeFoldPoints(const ModelConfig& config);

}  // namespace nibble
