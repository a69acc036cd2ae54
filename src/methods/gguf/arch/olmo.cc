// SPDX-License-Identifier: Apache-2.0
// Families that norm what their blocks give, and OLMo, which norms without weights.
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

std::vector<GgufName> PostNorms() {
  return {{"post_attention_norm", "post_attention_layernorm"},
          {"post_ffw_norm", "post_feedforward_layernorm"},
          {"attn_norm", ""},
          {"ffn_norm", ""}};
}

bool HasWindow(const GgufReader& reader) { return reader.Int("attention.sliding_window", 0).value_or(0) > 0; }

Status Exaone(const GgufReader& reader, Json* config) { return HasWindow(reader) ? EveryFourthSeesAll(reader, config) : Status(); }

Status ExaoneMoe(const GgufReader& reader, Json* config) {
  NIBBLE_RETURN_IF_ERROR(WithoutPrediction(reader, config));
  return Exaone(reader, config);
}

}  // namespace

std::span<const GgufArchitecture> olmo_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "olmo",
       .model_type = "olmo",
       .hub_class = "OlmoForCausalLM",
       .permuted = true,
       .layer_norm = true,
       .keys = {{"attention.clamp_kqv", "clip_qkv", GgufKey::kNumber}}},
      {.name = "olmo2",
       .model_type = "olmo3",
       .hub_class = "Olmo3ForCausalLM",
       .names = PostNorms(),
       .is = HasWindow,
       .read = EveryFourthSeesAll},
      {.name = "olmo2", .model_type = "olmo2", .hub_class = "Olmo2ForCausalLM", .names = PostNorms()},
      {.name = "olmoe",
       .model_type = "olmoe",
       .hub_class = "OlmoeForCausalLM",
       .keys = {{"attention.clamp_kqv", "clip_qkv", GgufKey::kNumber}},
       .config = R"({"norm_topk_prob": false})"},
      {.name = "exaone4", .model_type = "exaone4", .hub_class = "Exaone4ForCausalLM", .names = PostNorms(), .read = Exaone},
      {.name = "exaone",
       .model_type = "exaone",
       .hub_class = "ExaoneForCausalLM",
       .layers = "transformer.h",
       .globals = {{"token_embd", "transformer.wte"}, {"output_norm", "transformer.ln_f"}},
       .names = {{"attn_norm", "ln_1"},
                 {"attn_q", "attn.attention.q_proj"},
                 {"attn_k", "attn.attention.k_proj"},
                 {"attn_v", "attn.attention.v_proj"},
                 {"attn_output", "attn.attention.out_proj"},
                 {"ffn_norm", "ln_2"},
                 {"ffn_gate", "mlp.c_fc_0"},
                 {"ffn_up", "mlp.c_fc_1"},
                 {"ffn_down", "mlp.c_proj"}}},
      {.name = "exaone-moe",
       .model_type = "exaone_moe",
       .hub_class = "ExaoneMoeForCausalLM",
       .names = {{"exp_probs_b.bias", "mlp.e_score_correction_bias"}},
       .keys = {{"expert_shared_count", "num_shared_experts"}},
       .constants = {{"expert_gating_func", 2}},
       .read = ExaoneMoe},
  };
  return rows;
}

}  // namespace nibble
