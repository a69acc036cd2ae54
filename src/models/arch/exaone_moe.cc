// SPDX-License-Identifier: Apache-2.0
// K-EXAONE: EXAONE 4's attention on Llama's norms, DeepSeek V3's experts after the first dense layers.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> ExaoneMoeOptions(const ModelConfig& c) {
  ModelConfig named = c;
  if (const Json* shared = JsonFind(c.json, "num_shared_experts")) named.json["n_shared_experts"] = *shared;
  NIBBLE_TRY(DecoderOptions o, Exaone4Options(c));
  const DecoderNames usual;
  o.names.attn_in = usual.attn_in;
  o.names.mlp_in = usual.mlp_in;
  o.names.attn_out = o.names.mlp_out = "";
  NIBBLE_TRY(MoeBlock moe, DeepseekMoe(named));
  moe.choice_bias = "e_score_correction_bias";
  o.mlp = MoeMlp(std::move(moe));
  return o;
}

}  // namespace

const Architecture* exaone_moe_architecture() {
  static const Architecture architecture = MakeDecoder<ExaoneMoeOptions>(
      "exaone_moe", {"exaone_moe"},
      R"({"rms_norm_eps": 1e-5, "sliding_window": 4096, "num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 1024,
          "num_shared_experts": 1, "routed_scaling_factor": 2.5, "first_k_dense_replace": 1})",
      {"rotary_emb.inv_freq", "mtp."});
  return &architecture;
}

}  // namespace nibble
