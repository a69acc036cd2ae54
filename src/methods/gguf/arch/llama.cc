// SPDX-License-Identifier: Apache-2.0
// Llama and those who changed little of it.
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

bool HasExperts(const GgufReader& reader) { return reader.Int("expert_count", 0).value_or(0) > 0; }

// The hub has these numbers as tensors that no model ever changed.
Status WriteXielu(const Json& config, Json* keys) {
  const auto layers = config["num_hidden_layers"].get<size_t>();
  (*keys)["/xielu.beta"] = std::vector<double>(layers, 0.5);
  (*keys)["/xielu.eps"] = std::vector<double>(layers, -1e-6);
  return {};
}

// The key is mscale_all_dim itself (DeepSeek's is a tenth of it); readers take mscale as 1.
Status ReadMistral3(const GgufReader& reader, Json* config) {
  NIBBLE_TRY(const double all, reader.Number("rope.scaling.yarn_log_multiplier", 0.0));
  Json& rope = (*config)["rope_parameters"];
  if (all != 0) rope["mscale"] = 1.0, rope["mscale_all_dim"] = all;
  return {};
}

Status WriteMistral3(const Json& config, Json* keys) {
  const Json* all = FindPath(config, "rope_parameters.mscale_all_dim");
  if (all && all->is_number()) (*keys)["rope.scaling.yarn_log_multiplier"] = all->get<double>();
  return {};
}

}  // namespace

std::span<const GgufArchitecture> llama_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "llama",
       .model_type = "mixtral",
       .hub_class = "MixtralForCausalLM",
       .permuted = true,
       .names = {{"ffn_gate_inp", "block_sparse_moe.gate"},
                 {"ffn_gate_exps", "block_sparse_moe.experts.*.gate_proj"},
                 {"ffn_up_exps", "block_sparse_moe.experts.*.up_proj"},
                 {"ffn_down_exps", "block_sparse_moe.experts.*.down_proj"}},
       .is = HasExperts},
      {.name = "llama", .model_type = "llama", .hub_class = "LlamaForCausalLM", .permuted = true},
      {.name = "smollm3",
       .model_type = "smollm3",
       .hub_class = "SmolLM3ForCausalLM",
       .permuted = true,
       .config = R"({"no_rope_layer_interval": 4})"},
      {.name = "arcee",
       .model_type = "arcee",
       .hub_class = "ArceeForCausalLM",
       .permuted = true,
       .config = R"({"hidden_act": "relu2"})"},
      {.name = "apertus",
       .model_type = "apertus",
       .hub_class = "ApertusForCausalLM",
       .names = {{"attn_norm", "attention_layernorm"}, {"ffn_norm", "feedforward_layernorm"}},
       .layer_numbers = {{"xielu.alpha_p", "mlp.act_fn.alpha_p"}, {"xielu.alpha_n", "mlp.act_fn.alpha_n"}},
       .config = R"({"hidden_act": "xielu"})",
       .write = WriteXielu},
      {.name = "seed_oss",
       .model_type = "seed_oss",
       .hub_class = "SeedOssForCausalLM",
       .names = {{"post_attention_norm", "post_attention_layernorm"}},
       .keys = {{"attn_output.bias", "attention_out_bias", GgufKey::kHasTensor}}},
      {.name = "mistral3",
       .model_type = "ministral3",
       .hub_class = "Ministral3ForCausalLM",
       .permuted = true,
       .keys = {{"attention.temperature_scale", "rope_parameters.llama_4_scaling_beta", GgufKey::kNumber}},
       .read = ReadMistral3,
       .write = WriteMistral3},
      {.name = "internlm2",
       .model_type = "internlm2",
       .hub_class = "InternLM2ForCausalLM",
       .permuted = true,
       .globals = {{"token_embd", "model.tok_embeddings"}, {"output", "output"}},
       .names = {{"attn_norm", "attention_norm"},
                 {"attn_q", "attention.q_proj"},
                 {"attn_k", "attention.k_proj"},
                 {"attn_v", "attention.v_proj"},
                 {"attn_output", "attention.wo"},
                 {"ffn_norm", "ffn_norm"},
                 {"ffn_gate", "feed_forward.w1"},
                 {"ffn_up", "feed_forward.w3"},
                 {"ffn_down", "feed_forward.w2"}},
       .keys = {{"attn_q.bias", "bias", GgufKey::kHasTensor}},
       .config = R"({"bias": false})"},
      {.name = "jais2",
       .model_type = "jais2",
       .hub_class = "Jais2ForCausalLM",
       .layer_norm = true,
       .config = R"({"hidden_act": "relu2"})"},
  };
  return rows;
}

}  // namespace nibble
