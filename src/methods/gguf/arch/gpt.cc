// SPDX-License-Identifier: Apache-2.0
// Decoders with names of their own, most of them older than Llama.
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

// MPT's is a whole number.
Status Alibi(const GgufReader&, Json* config) {
  Json& bias = (*config)["attn_config"]["alibi_bias_max"];
  bias = bias.is_number() ? bias.get<int64_t>() : 8;
  return {};
}

bool HasTwoNorms(const GgufReader& reader) { return reader.HasTensor("blk.0.attn_norm_2.weight"); }

// One kv head: Falcon 7B; as many as queries: Falcon RW; else the newer decoder with one norm (Falcon 11B).
Status Falcon(const GgufReader&, Json* config) {
  const int64_t heads = (*config)["num_attention_heads"].get<int64_t>(), kv = (*config)["num_key_value_heads"].get<int64_t>();
  (*config)["multi_query"] = kv == 1;
  (*config)["new_decoder_architecture"] = kv > 1 && kv < heads;
  (*config)["num_ln_in_parallel_attn"] = 1;
  return {};
}

Status MultiQuery(const GgufReader&, Json* config) {
  (*config)["multi_query"] = (*config)["num_key_value_heads"] == 1;
  return {};
}

}  // namespace

std::span<const GgufArchitecture> gpt_gguf() {
  // BigCode's too.
  static const std::vector<GgufName> gpt2_globals = {
      {"token_embd", "transformer.wte"}, {"output_norm", "transformer.ln_f"}, {"position_embd", "transformer.wpe"}};
  static const std::vector<GgufName> gpt2_names = {
      {"attn_norm", "ln_1"},          {"ffn_norm", "ln_2"},   {"attn_qkv", "attn.q_proj+attn.k_proj+attn.v_proj"},
      {"attn_output", "attn.c_proj"}, {"ffn_up", "mlp.c_fc"}, {"ffn_down", "mlp.c_proj"}};
  static const GgufArchitecture rows[] = {
      {.name = "gpt2",
       .model_type = "gpt2",
       .hub_class = "GPT2LMHeadModel",
       .layers = "transformer.h",
       .layer_norm = true,
       .globals = gpt2_globals,
       .names = gpt2_names,
       .config = R"({"hidden_act": "gelu_new"})"},
      {.name = "gptneox",
       .model_type = "gpt_neox",
       .hub_class = "GPTNeoXForCausalLM",
       .layers = "gpt_neox.layers",
       .layer_norm = true,
       .globals = {{"token_embd", "gpt_neox.embed_in"}, {"output_norm", "gpt_neox.final_layer_norm"}, {"output", "embed_out"}},
       .names = {{"attn_norm", "input_layernorm"},
                 {"ffn_norm", "post_attention_layernorm"},
                 {"attn_qkv", "attention.q_proj+attention.k_proj+attention.v_proj"},
                 {"attn_output", "attention.dense"},
                 {"ffn_up", "mlp.dense_h_to_4h"},
                 {"ffn_down", "mlp.dense_4h_to_h"}},
       .keys = {{"use_parallel_residual", "use_parallel_residual", GgufKey::kBool}},
       .config = R"({"hidden_act": "gelu", "use_parallel_residual": true})"},
      {.name = "bloom",
       .model_type = "bloom",
       .hub_class = "BloomForCausalLM",
       .layers = "transformer.h",
       .layer_norm = true,
       .globals = {{"token_embd", "transformer.word_embeddings"},
                   {"output_norm", "transformer.ln_f"},
                   {"token_embd_norm", "transformer.word_embeddings_layernorm"}},
       .names = {{"attn_norm", "input_layernorm"},
                 {"ffn_norm", "post_attention_layernorm"},
                 {"attn_qkv", "self_attention.q_proj+self_attention.k_proj+self_attention.v_proj"},
                 {"attn_output", "self_attention.dense"},
                 {"ffn_up", "mlp.dense_h_to_4h"},
                 {"ffn_down", "mlp.dense_4h_to_h"}},
       .config = R"({"hidden_act": "gelu_pytorch_tanh"})"},
      {.name = "mpt",
       .model_type = "mpt",
       .hub_class = "MptForCausalLM",
       .layers = "transformer.blocks",
       .layer_norm = true,
       .globals = {{"token_embd", "transformer.wte"}, {"output_norm", "transformer.norm_f"}},
       .names = {{"attn_norm", "norm_1"},
                 {"ffn_norm", "norm_2"},
                 {"attn_qkv", "attn.q_proj+attn.k_proj+attn.v_proj"},
                 {"attn_output", "attn.out_proj"},
                 {"ffn_up", "ffn.up_proj"},
                 {"ffn_down", "ffn.down_proj"}},
       .keys = {{"attention.clamp_kqv", "attn_config.clip_qkv", GgufKey::kNumber},
                {"attention.max_alibi_bias", "attn_config.alibi_bias_max", GgufKey::kNumber}},
       .config = R"({"hidden_act": "gelu"})",
       .read = Alibi},
      {.name = "falcon",
       .model_type = "falcon",
       .hub_class = "FalconForCausalLM",
       .layers = "transformer.h",
       .layer_norm = true,
       .globals = {{"token_embd", "transformer.word_embeddings"}, {"output_norm", "transformer.ln_f"}},
       .names = {{"attn_norm", "ln_mlp"},
                 {"attn_qkv", "self_attention.q_proj+self_attention.k_proj+self_attention.v_proj"},
                 {"attn_output", "self_attention.dense"},
                 {"ffn_up", "mlp.dense_h_to_4h"},
                 {"ffn_down", "mlp.dense_4h_to_h"},
                 {"attn_norm_2", "ln_attn"}},
       .config = R"({"hidden_act": "gelu", "new_decoder_architecture": true, "num_ln_in_parallel_attn": 2})",
       .is = HasTwoNorms},
      {.name = "falcon",
       .model_type = "falcon",
       .hub_class = "FalconForCausalLM",
       .layers = "transformer.h",
       .layer_norm = true,
       .globals = {{"token_embd", "transformer.word_embeddings"}, {"output_norm", "transformer.ln_f"}},
       .names = {{"attn_norm", "input_layernorm"},
                 {"attn_qkv", "self_attention.q_proj+self_attention.k_proj+self_attention.v_proj"},
                 {"attn_output", "self_attention.dense"},
                 {"ffn_up", "mlp.dense_h_to_4h"},
                 {"ffn_down", "mlp.dense_4h_to_h"}},
       .config = R"({"hidden_act": "gelu"})",
       .read = Falcon},
      {.name = "starcoder",
       .model_type = "gpt_bigcode",
       .hub_class = "GPTBigCodeForCausalLM",
       .layers = "transformer.h",
       .layer_norm = true,
       .globals = gpt2_globals,
       .names = gpt2_names,
       .config = R"({"hidden_act": "gelu_pytorch_tanh"})",
       .read = MultiQuery},
  };
  return rows;
}

}  // namespace nibble
