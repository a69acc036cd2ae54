// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
std::span<const GgufArchitecture> cohere_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "command-r",
       .model_type = "cohere",
       .hub_class = "CohereForCausalLM",
       .layer_norm = true,
       .keys = {{"logit_scale", "logit_scale", GgufKey::kNumber}, {"attn_q_norm.weight", "use_qk_norm", GgufKey::kHasTensor}}},
      {.name = "cohere2",
       .model_type = "cohere2",
       .hub_class = "Cohere2ForCausalLM",
       .layer_norm = true,
       .keys = {{"logit_scale", "logit_scale", GgufKey::kNumber}},
       .read = EveryFourthSeesAll},
  };
  return rows;
}

}  // namespace nibble
