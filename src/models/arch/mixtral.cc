// SPDX-License-Identifier: Apache-2.0
// Mixtral: Mistral with a mixture of experts for its MLP; softmax over all experts, the best top_k renormalized.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<Graph> Build(const ModelConfig& config, int rank, int ranks) {
  NIBBLE_TRY_IN(config.where, const int64_t experts, JsonInt(config.json, "num_local_experts", 8));
  NIBBLE_TRY_IN(config.where, const int64_t top_k, JsonInt(config.json, "num_experts_per_tok", 2));
  if (experts < 1 || top_k < 1 || top_k > experts)
    return Corrupt("{}: num_experts_per_tok {} of num_local_experts {}; wanted 1 <= chosen <= experts", config.where, top_k,
                   experts);
  const auto mlp = [&](GraphBuilder& b, BufferId in, const std::string& layer) -> Result<BufferId> {
    return b.Experts(in, layer + "block_sparse_moe.gate",
                     {.prefix = layer + "mlp.experts",
                      .prefixes_on_disk = {layer + "block_sparse_moe.experts"},
                      .experts = experts,
                      .top_k = top_k,
                      .hidden = config.hidden,
                      .inter = config.inter,
                      .act = config.act});
  };
  return BuildLlamaLike(config, {.tied = config.tied, .rope = {.theta = 1e6}, .slides = [](int64_t) { return true; }, .mlp = mlp},
                        rank, ranks);
}

}  // namespace

const Architecture* mixtral_architecture() {
  static const Architecture architecture = {"mixtral", {"mixtral"}, Build, LlamaLikeFoldPoints, {"rotary_emb.inv_freq"}};
  return &architecture;
}

}  // namespace nibble
