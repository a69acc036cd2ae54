// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

// These configs say the original length beside rope_parameters too, and that one wins.
Status Original(const GgufReader& reader, Json* config) {
  (*config)["lm_head_bias"] = reader.HasTensor("output.bias");
  const Json* original = FindPath(*config, "rope_parameters.original_max_position_embeddings");
  (*config)["original_max_position_embeddings"] = original ? *original : (*config)["max_position_embeddings"];
  return {};
}

}  // namespace

std::span<const GgufArchitecture> phi_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "phi2",
       .model_type = "phi",
       .hub_class = "PhiForCausalLM",
       .layer_norm = true,
       .globals = {{"output_norm", "model.final_layernorm"}},
       .names = {{"attn_output", "self_attn.dense"}, {"ffn_up", "mlp.fc1"}, {"ffn_down", "mlp.fc2"}},
       .config = R"({"hidden_act": "gelu_new"})"},
      {.name = "phi3",
       .model_type = "phi3",
       .hub_class = "Phi3ForCausalLM",
       .names = {{"attn_qkv", "self_attn.q_proj+self_attn.k_proj+self_attn.v_proj"},
                 {"ffn_up", "mlp.gate_proj|mlp.up_proj"},
                 {"ffn_gate", ""}},
       .read = Original},
      {.name = "phimoe",
       .model_type = "phimoe",
       .hub_class = "PhimoeForCausalLM",
       .names = {{"ffn_gate_inp", "block_sparse_moe.gate"},
                 {"ffn_gate_exps", "block_sparse_moe.experts.*.gate_proj"},
                 {"ffn_up_exps", "block_sparse_moe.experts.*.up_proj"},
                 {"ffn_down_exps", "block_sparse_moe.experts.*.down_proj"}},
       .read = Original},
  };
  return rows;
}

}  // namespace nibble
