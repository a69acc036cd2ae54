// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

// block_count counts the layers that predict further tokens.
Status WithoutPrediction(const GgufReader& reader, Json* config) {
  NIBBLE_TRY(const int64_t further, reader.Int("nextn_predict_layers", 0));
  const int64_t layers = (*config)["num_hidden_layers"].get<int64_t>();
  if (further < 0 || further >= layers)
    return Corrupt("{}: key \"{}\": {} of {} layers", reader.path(), reader.Key("nextn_predict_layers"), further, layers);
  (*config)["num_hidden_layers"] = layers - further;
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
