// SPDX-License-Identifier: Apache-2.0
// Qwen 3: Llama with an RMS norm on every q and k head; layers from max_window_layers on may slide (use_sliding_window).
#include "models/blocks.h"

namespace nibble {
namespace {

Result<Graph> Build(const ModelConfig& config, int rank, int ranks) {
  ModelConfig c = config;
  if (!JsonFind(c.json, "head_dim")) c.head_dim = 128;  // the family's default is not hidden / heads
  NIBBLE_TRY_IN(c.where, const bool use_window, JsonBool(c.json, "use_sliding_window", false));
  NIBBLE_TRY_IN(c.where, const int64_t first, JsonInt(c.json, "max_window_layers", 28));
  const auto slides = [=](int64_t layer) { return use_window && layer >= first; };
  return BuildLlamaLike(
      c, {.qkv_bias = c.attention_bias, .o_bias = c.attention_bias, .head_norm = true, .tied = c.tied, .slides = slides}, rank,
      ranks);
}

}  // namespace

const Architecture* qwen3_architecture() {
  static const Architecture architecture = {"qwen3", {"qwen3"}, Build, LlamaLikeFoldPoints, {"rotary_emb.inv_freq"}};
  return &architecture;
}

}  // namespace nibble
