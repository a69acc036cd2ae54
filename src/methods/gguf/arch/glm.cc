// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

// Solar Open has experts in every layer.
bool HasNoDenseLayers(const GgufReader& reader) { return !reader.Has("leading_dense_block_count"); }

// Files of the hub name a number of dense layers that the model never had.
Status WithoutDenseLayers(const Json&, Json* keys) {
  keys->erase("leading_dense_block_count");
  return {};
}

}  // namespace

std::span<const GgufArchitecture> glm_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "glm4",
       .model_type = "glm4",
       .hub_class = "Glm4ForCausalLM",
       .names = {{"ffn_up", "mlp.gate_proj|mlp.up_proj"},
                 {"ffn_gate", ""},
                 {"post_attention_norm", "post_self_attn_layernorm"},
                 {"post_ffw_norm", "post_mlp_layernorm"}}},
      {.name = "chatglm",
       .model_type = "glm",
       .hub_class = "GlmForCausalLM",
       .names = {{"attn_qkv", "self_attn.q_proj+self_attn.k_proj+self_attn.v_proj"},
                 {"ffn_up", "mlp.gate_proj|mlp.up_proj"},
                 {"ffn_gate", ""}}},
      {.name = "glm4moe",
       .model_type = "solar_open",
       .hub_class = "SolarOpenForCausalLM",
       .names = {{"post_attention_norm", "post_attention_layernorm"}},
       .constants = {{"expert_gating_func", 2}},
       .is = HasNoDenseLayers,
       .write = WithoutDenseLayers},
      {.name = "glm4moe",
       .model_type = "glm4_moe",
       .hub_class = "Glm4MoeForCausalLM",
       .names = {{"post_attention_norm", "post_attention_layernorm"}},
       .keys = {{"attn_q_norm.weight", "use_qk_norm", GgufKey::kHasTensor}},
       .constants = {{"expert_gating_func", 2}},
       .read = WithoutPrediction},
  };
  return rows;
}

}  // namespace nibble
