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

std::vector<GgufKey> WithSharedWidth() {
  std::vector<GgufKey> keys = Multipliers();
  keys.push_back({"expert_shared_feed_forward_length", "shared_intermediate_size"});
  return keys;
}

std::vector<GgufName> Experts(bool shared) {
  std::vector<GgufName> names = {{"ffn_gate_inp", "block_sparse_moe.router.layer"},
                                 {"ffn_gate_exps", "block_sparse_moe.experts.*.gate_proj"},
                                 {"ffn_up_exps", "block_sparse_moe.experts.*.up_proj"},
                                 {"ffn_down_exps", "block_sparse_moe.experts.*.down_proj"}};
  if (!shared) return names;
  names.push_back({"ffn_gate_shexp", "shared_mlp.gate_proj"});
  names.push_back({"ffn_up_shexp", "shared_mlp.up_proj"});
  names.push_back({"ffn_down_shexp", "shared_mlp.output_linear"});
  return names;
}

bool HasSharedExpert(const GgufReader& reader) { return reader.HasTensor("blk.0.ffn_up_shexp.weight"); }

}  // namespace

std::span<const GgufArchitecture> granite_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "granite", .model_type = "granite", .hub_class = "GraniteForCausalLM", .permuted = true, .keys = Multipliers()},
      {.name = "granitemoe",
       .model_type = "granitemoeshared",
       .hub_class = "GraniteMoeSharedForCausalLM",
       .permuted = true,
       .names = Experts(true),
       .keys = WithSharedWidth(),
       .is = HasSharedExpert},
      {.name = "granitemoe",
       .model_type = "granitemoe",
       .hub_class = "GraniteMoeForCausalLM",
       .permuted = true,
       .names = Experts(false),
       .keys = Multipliers()},
  };
  return rows;
}

}  // namespace nibble
