// SPDX-License-Identifier: Apache-2.0
// GLM 4.5 to 4.7: Llama with half of each head rotated, biases on q, k and v; the experts of DeepSeek V3.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Glm4MoeOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = 0.5}));
  NIBBLE_TRY_IN(c.where, const bool head_norm, JsonBool(c.json, "use_qk_norm", false));
  if (head_norm) o.qk_norm = DecoderOptions::kHead;
  o.o_bias = false;
  NIBBLE_TRY(const MoeBlock moe, DeepseekMoe(c));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* glm4_moe_architecture() {
  static const Architecture architecture = MakeDecoder<Glm4MoeOptions>(
      "glm4_moe", {"glm4_moe"},
      R"({"rms_norm_eps": 1e-5, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 1408, "first_k_dense_replace": 1, "n_shared_experts": 1})",
      {"rotary_emb.inv_freq"}, {}, PredictionLayers);
  return &architecture;
}

}  // namespace nibble
