// SPDX-License-Identifier: Apache-2.0
// DeepSeek V3, R1, V3.1 and Kimi K2: latent attention; experts by sigmoid from the best groups, chosen with a bias, beside shared
// ones, after the first dense layers.
#include "models/mla.h"

namespace nibble {
namespace {

Result<DecoderOptions> DeepseekV3Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, MlaOptions(c));
  NIBBLE_TRY_IN(c.where, const std::string scores, JsonString(c.json, "scoring_func", "sigmoid"));
  NIBBLE_TRY_IN(c.where, const std::string choice, JsonString(c.json, "topk_method", "noaux_tc"));
  if (scores != "sigmoid") return Unsupported("{}: scoring_func \"{}\" (known here: sigmoid)", c.where, scores);
  if (choice != "noaux_tc") return Unsupported("{}: topk_method \"{}\" (known here: noaux_tc)", c.where, choice);
  NIBBLE_TRY(const MoeBlock moe, DeepseekMoe(c));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* deepseek_v3_architecture() {
  static const Architecture architecture = MakeDecoder<DeepseekV3Options>(
      "deepseek_v3", {"deepseek_v3", "kimi_k2"},
      R"({"head_dim": 64, "num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "n_shared_experts": 1, "n_group": 8, "topk_group": 4, "routed_scaling_factor": 2.5, "first_k_dense_replace": 3, "max_position_embeddings": 4096})",
      {"rotary_emb.inv_freq"}, {}, PredictionLayers);
  return &architecture;
}

}  // namespace nibble
