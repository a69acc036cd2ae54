// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {

std::span<const GgufArchitecture> stablelm_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "stablelm",
       .model_type = "stablelm",
       .hub_class = "StableLmForCausalLM",
       .layer_norm = true,
       .keys = {{"use_parallel_residual", "use_parallel_residual", GgufKey::kBool},
                {"attn_q.bias", "use_qkv_bias", GgufKey::kHasTensor},
                {"attn_q_norm.weight", "qk_layernorm", GgufKey::kHasTensor}}},
  };
  return rows;
}

}  // namespace nibble
