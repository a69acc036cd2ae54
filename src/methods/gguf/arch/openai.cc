// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

Status ReadOpenai(const GgufReader& reader, Json* config) {
  NIBBLE_TRY((*config)["intermediate_size"], reader.Positive("expert_feed_forward_length"));
  // The ends of yarn's ramp are not rounded to whole dimensions.
  if (Json& rope = (*config)["rope_parameters"]; rope["rope_type"] == "yarn") rope["truncate"] = false;
  (*config)["swiglu_limit"] = 7.0;
  return {};
}

}  // namespace

std::span<const GgufArchitecture> openai_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "gpt-oss",
       .model_type = "gpt_oss",
       .hub_class = "GptOssForCausalLM",
       .names = {{"post_attention_norm", "post_attention_layernorm"},
                 {"attn_sinks.weight", "self_attn.sinks"},
                 {"ffn_gate_inp", "mlp.router"}},
       .read = ReadOpenai},
  };
  return rows;
}

}  // namespace nibble
