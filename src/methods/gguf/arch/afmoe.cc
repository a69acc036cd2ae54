// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
std::span<const GgufArchitecture> afmoe_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "afmoe",
       .model_type = "afmoe",
       .hub_class = "AfmoeForCausalLM",
       .names = {{"attn_gate", "self_attn.gate_proj"},
                 {"post_attention_norm", "post_attention_layernorm"},
                 {"ffn_norm", "pre_mlp_layernorm"},
                 {"post_ffw_norm", "post_mlp_layernorm"},
                 {"ffn_gate_inp", "mlp.router.gate"},
                 {"exp_probs_b.bias", "mlp.expert_bias"}},
       .keys = {{"leading_dense_block_count", "num_dense_layers"},
                {"expert_shared_count", "num_shared_experts"},
                {"expert_weights_norm", "route_norm", GgufKey::kBool},
                {"expert_weights_scale", "route_scale", GgufKey::kNumber}},
       .config = R"({"mup_enabled": true, "num_dense_layers": 0})",
       .constants = {{"expert_gating_func", 2}},
       .read = EveryFourthSeesAll},
  };
  return rows;
}

}  // namespace nibble
