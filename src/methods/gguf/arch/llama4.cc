// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

// The hub says intermediate_size of the experts; a window of 0 means that every layer turns and sees everything.
Status ReadLlama4(const GgufReader& reader, Json* config) {
  (*config)["intermediate_size_mlp"] = (*config)["intermediate_size"];
  NIBBLE_TRY((*config)["intermediate_size"], reader.Positive("expert_feed_forward_length"));
  NIBBLE_TRY(const int64_t window, reader.Int("attention.sliding_window", 8192));
  config->erase("sliding_window");
  if (window != 0) return {};
  NIBBLE_TRY((*config)["attention_chunk_size"], reader.Positive("context_length"));
  (*config)["no_rope_layer_interval"] = 0;
  return {};
}

Status WriteLlama4(const Json& config, Json* keys) {
  NIBBLE_TRY((*keys)["feed_forward_length"], JsonInt(config, "intermediate_size_mlp", 16384));
  NIBBLE_TRY((*keys)["interleave_moe_layer_step"], JsonInt(config, "interleave_moe_layer_step", 1));
  return {};
}

}  // namespace

std::span<const GgufArchitecture> llama4_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "llama4",
       .model_type = "llama4_text",
       .hub_class = "Llama4ForCausalLM",
       .names = {{"ffn_gate", "feed_forward.gate_proj"},
                 {"ffn_up", "feed_forward.up_proj"},
                 {"ffn_down", "feed_forward.down_proj"},
                 {"ffn_gate_inp", "feed_forward.router"},
                 {"ffn_gate_exps", "feed_forward.experts.*.gate_proj"},
                 {"ffn_up_exps", "feed_forward.experts.*.up_proj"},
                 {"ffn_down_exps", "feed_forward.experts.*.down_proj"},
                 {"ffn_gate_shexp", "feed_forward.shared_expert.gate_proj"},
                 {"ffn_up_shexp", "feed_forward.shared_expert.up_proj"},
                 {"ffn_down_shexp", "feed_forward.shared_expert.down_proj"}},
       .keys = {{"interleave_moe_layer_step", "interleave_moe_layer_step"}},
       .config = R"({"attention_chunk_size": 8192, "attn_temperature_tuning": true, "floor_scale": 8192, "attn_scale": 0.1,
                     "use_qk_norm": true})",
       .read = ReadLlama4,
       .write = WriteLlama4},
  };
  return rows;
}

}  // namespace nibble
