// SPDX-License-Identifier: Apache-2.0
// Llama 1 to 3.x: RMS norm, rotary q and k, grouped-query attention, SwiGLU; optional biases on all attention or all MLP products.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<Graph> Build(const ModelConfig& config, int rank, int ranks) {
  return BuildLlamaLike(config, {.qkv_bias = config.attention_bias, .o_bias = config.attention_bias, .tied = config.tied}, rank,
                        ranks);
}

}  // namespace

const Architecture* llama_architecture() {
  static const Architecture architecture = {"llama", {"llama"}, Build, LlamaLikeFoldPoints, {"rotary_emb.inv_freq"}};
  return &architecture;
}

}  // namespace nibble
