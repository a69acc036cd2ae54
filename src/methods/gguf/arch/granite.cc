// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

std::vector<GgufKey> Multipliers() {
  return {{"attention.scale", "attention_multiplier", GgufKey::kNumber},
          {"embedding_scale", "embedding_multiplier", GgufKey::kNumber},
          {"residual_scale", "residual_multiplier", GgufKey::kNumber},
          {"logit_scale", "logits_scaling", GgufKey::kNumber}};
}

}  // namespace

std::span<const GgufArchitecture> granite_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "granite", .model_type = "granite", .hub_class = "GraniteForCausalLM", .permuted = true, .keys = Multipliers()},
      {.name = "granitemoe",
       .model_type = "granitemoe",
       .hub_class = "GraniteMoeForCausalLM",
       .permuted = true,
       .names = {{"ffn_gate_inp", "block_sparse_moe.router.layer"},
                 {"ffn_gate_exps", "block_sparse_moe.experts.*.gate_proj"},
                 {"ffn_up_exps", "block_sparse_moe.experts.*.up_proj"},
                 {"ffn_down_exps", "block_sparse_moe.experts.*.down_proj"}},
       .keys = Multipliers()},
  };
  return rows;
}

}  // namespace nibble
