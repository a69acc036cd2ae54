// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {

std::span<const GgufArchitecture> bitnet_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "bitnet",
       .model_type = "bitnet",
       .hub_class = "BitNetForCausalLM",
       .names = {{"attn_sub_norm", "self_attn.attn_sub_norm"}, {"ffn_sub_norm", "mlp.ffn_sub_norm"}},
       .config = R"({"hidden_act": "relu2"})"},
  };
  return rows;
}

}  // namespace nibble
