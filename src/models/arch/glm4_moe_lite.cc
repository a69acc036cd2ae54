// SPDX-License-Identifier: Apache-2.0
// GLM 4.7 Flash: the attention and experts of DeepSeek V3 in one group.
#include "models/mla.h"

namespace nibble {
namespace {

Result<DecoderOptions> Glm4MoeLiteOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, MlaOptions(c, {.q_rank = 768}));
  NIBBLE_TRY(const MoeBlock moe, DeepseekMoe(c));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* glm4_moe_lite_architecture() {
  static const Architecture architecture = MakeDecoder<Glm4MoeLiteOptions>(
      "glm4_moe_lite", {"glm4_moe_lite"},
      R"({"rms_norm_eps": 1e-5, "head_dim": 64, "qk_nope_head_dim": 192, "v_head_dim": 256, "num_experts": 64, "num_experts_per_tok": 4, "moe_intermediate_size": 1536, "n_shared_experts": 1, "routed_scaling_factor": 1.8, "first_k_dense_replace": 1})",
      {"rotary_emb.inv_freq"}, {}, PredictionLayers);
  return &architecture;
}

}  // namespace nibble
