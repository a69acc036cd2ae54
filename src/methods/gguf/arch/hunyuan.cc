// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {

std::span<const GgufArchitecture> hunyuan_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "hunyuan-dense",
       .model_type = "hunyuan_v1_dense",
       .hub_class = "HunYuanDenseV1ForCausalLM",
       .names = {{"attn_q_norm", "self_attn.query_layernorm"}, {"attn_k_norm", "self_attn.key_layernorm"}}},
      {.name = "hunyuan-moe",
       .model_type = "hunyuan_v1_moe",
       .hub_class = "HunYuanMoEV1ForCausalLM",
       .names = {{"attn_q_norm", "self_attn.query_layernorm"},
                 {"attn_k_norm", "self_attn.key_layernorm"},
                 {"ffn_gate_inp", "mlp.gate.wg"},
                 {"ffn_gate_shexp", "mlp.shared_mlp.gate_proj"},
                 {"ffn_up_shexp", "mlp.shared_mlp.up_proj"},
                 {"ffn_down_shexp", "mlp.shared_mlp.down_proj"}}},
  };
  return rows;
}

}  // namespace nibble
