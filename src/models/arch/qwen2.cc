// SPDX-License-Identifier: Apache-2.0
// Qwen 2 and 2.5: Llama with biases on q, k and v; layers from max_window_layers on may slide (use_sliding_window).
#include "models/blocks.h"

namespace nibble {
namespace {

Result<Graph> Build(const ModelConfig& config, int rank, int ranks) {
  NIBBLE_TRY_IN(config.where, const bool use_window, JsonBool(config.json, "use_sliding_window", false));
  NIBBLE_TRY_IN(config.where, const int64_t first, JsonInt(config.json, "max_window_layers", 28));
  const auto slides = [=](int64_t layer) { return use_window && layer >= first; };
  return BuildLlamaLike(config, {.qkv_bias = true, .tied = config.tied, .slides = slides}, rank, ranks);
}

}  // namespace

const Architecture* qwen2_architecture() {
  static const Architecture architecture = {"qwen2", {"qwen2"}, Build, LlamaLikeFoldPoints, {"rotary_emb.inv_freq"}};
  return &architecture;
}

}  // namespace nibble
