// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {

std::span<const GgufArchitecture> nemotron_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "nemotron",
       .model_type = "nemotron",
       .hub_class = "NemotronForCausalLM",
       .layer_norm = true,
       .globals = {{"output_norm", "model.norm", GgufName::kPlusOne}},
       .names = {{"attn_norm", "input_layernorm", GgufName::kPlusOne},
                 {"ffn_norm", "post_attention_layernorm", GgufName::kPlusOne}},
       .config = R"({"hidden_act": "relu2"})"},
  };
  return rows;
}

}  // namespace nibble
