// SPDX-License-Identifier: Apache-2.0
// Qwen 3 MoE: Qwen 3's attention; experts in every decoder_sparse_step-th layer that mlp_only_layers does not name; softmax over
// all experts, the best top_k, renormalized when norm_topk_prob says so.
#include <algorithm>

#include "models/blocks.h"

namespace nibble {
namespace {

Result<MoeSpec> Experts(const ModelConfig& c) {
  MoeSpec moe{.hidden = c.hidden, .act = c.act};
  const char* count = JsonFind(c.json, "num_experts") ? "num_experts" : "num_local_experts";
  NIBBLE_TRY_IN(c.where, moe.experts, JsonInt(c.json, count, 128));
  NIBBLE_TRY_IN(c.where, moe.top_k, JsonInt(c.json, "num_experts_per_tok", 8));
  NIBBLE_TRY_IN(c.where, moe.inter, JsonInt(c.json, "moe_intermediate_size", 768));
  NIBBLE_TRY_IN(c.where, moe.renormalize, JsonBool(c.json, "norm_topk_prob", false));
  if (moe.experts < 1 || moe.top_k < 1 || moe.top_k > moe.experts)
    return Corrupt("{}: num_experts_per_tok {} of {} {}; wanted 1 <= chosen <= experts", c.where, moe.top_k, count, moe.experts);
  if (moe.inter < 1) return Corrupt("{}: moe_intermediate_size is {}, wanted a positive number", c.where, moe.inter);
  return moe;
}

Result<Graph> Build(const ModelConfig& c, int rank, int ranks) {
  NIBBLE_TRY(const MoeSpec experts, Experts(c));
  NIBBLE_TRY_IN(c.where, const int64_t step, JsonInt(c.json, "decoder_sparse_step", 1));
  NIBBLE_TRY_IN(c.where, const bool use_window, JsonBool(c.json, "use_sliding_window", false));
  std::vector<int64_t> dense_layers;
  if (const Json* list = JsonFind(c.json, "mlp_only_layers"); list && list->is_array())
    for (const Json& layer : *list)
      if (layer.is_number_integer()) dense_layers.push_back(layer.get<int64_t>());
  const auto dense = [=](int64_t layer) {
    return step < 1 || (layer + 1) % step != 0 || std::find(dense_layers.begin(), dense_layers.end(), layer) != dense_layers.end();
  };
  const auto mlp = [&](GraphBuilder& b, BufferId in, const std::string& layer) -> Result<BufferId> {
    MoeSpec moe = experts;
    moe.prefix = layer + "mlp.experts";
    return b.Experts(in, layer + "mlp.gate", moe);
  };
  return BuildLlamaLike(c,
                        {.qkv_bias = c.attention_bias,
                         .o_bias = c.attention_bias,
                         .head_norm = true,
                         .tied = c.tied,
                         .slides = [=](int64_t) { return use_window; },
                         .mlp = mlp,
                         .dense = dense},
                        rank, ranks);
}

}  // namespace

const Architecture* qwen3_moe_architecture() {
  static const Architecture architecture = {"qwen3_moe", {"qwen3_moe"}, Build, LlamaLikeFoldPoints, {"rotary_emb.inv_freq"}};
  return &architecture;
}

}  // namespace nibble
