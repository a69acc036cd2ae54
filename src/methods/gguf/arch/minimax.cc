// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {

std::span<const GgufArchitecture> minimax_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "minimax-m2",
       .model_type = "minimax_m2",
       .hub_class = "MiniMaxM2ForCausalLM",
       .names = {{"ffn_gate_inp", "block_sparse_moe.gate"},
                 {"ffn_gate_exps", "block_sparse_moe.experts.*.gate_proj"},
                 {"ffn_up_exps", "block_sparse_moe.experts.*.up_proj"},
                 {"ffn_down_exps", "block_sparse_moe.experts.*.down_proj"},
                 {"exp_probs_b.bias", "block_sparse_moe.e_score_correction_bias"}},
       .constants = {{"expert_gating_func", 2}}},
  };
  return rows;
}

}  // namespace nibble
