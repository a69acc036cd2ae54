// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

Status ErnieBias(const GgufReader& reader, Json* config) {
  (*config)["use_bias"] = reader.HasTensor("blk.0.attn_q.bias");
  return {};
}

}  // namespace

std::span<const GgufArchitecture> ernie_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "ernie4_5", .model_type = "ernie4_5", .hub_class = "Ernie4_5ForCausalLM", .read = ErnieBias},
      {.name = "ernie4_5-moe",
       .model_type = "ernie4_5_moe",
       .hub_class = "Ernie4_5_MoeForCausalLM",
       .names = {{"exp_probs_b.bias", "mlp.moe_statics.e_score_correction_bias"}},
       .keys = {{"interleave_moe_layer_step", "moe_layer_interval"},
                {"expert_shared_count", "moe_num_shared_experts"},
                {"leading_dense_block_count", "moe_layer_start_index"}},
       .config = R"({"moe_num_shared_experts": 0, "moe_layer_start_index": 0})",
       .read = ErnieBias},
  };
  return rows;
}

}  // namespace nibble
