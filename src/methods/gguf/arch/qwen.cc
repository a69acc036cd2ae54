// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

// Which layers have experts is seen in their tensors.
Status SparseLayers(const GgufReader& reader, Json* config) {
  NIBBLE_TRY(const int64_t layers, reader.Positive("block_count"));
  (*config)["decoder_sparse_step"] = 1;
  Json dense = Json::array();
  for (int64_t layer = 0; layer < layers && layer < 4096; ++layer)
    if (reader.HasTensor(fmt::format("blk.{}.ffn_gate.weight", layer))) dense.push_back(layer);
  (*config)["mlp_only_layers"] = std::move(dense);
  return {};
}

}  // namespace

std::span<const GgufArchitecture> qwen_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "qwen2", .model_type = "qwen2", .hub_class = "Qwen2ForCausalLM"},
      {.name = "qwen2moe",
       .model_type = "qwen2_moe",
       .hub_class = "Qwen2MoeForCausalLM",
       .names = {{"ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
                 {"ffn_up_shexp", "mlp.shared_expert.up_proj"},
                 {"ffn_down_shexp", "mlp.shared_expert.down_proj"},
                 {"ffn_gate_inp_shexp", "mlp.shared_expert_gate"}},
       .config = R"({"norm_topk_prob": false})",
       .read = SparseLayers},
      {.name = "qwen3", .model_type = "qwen3", .hub_class = "Qwen3ForCausalLM"},
      {.name = "qwen3moe",
       .model_type = "qwen3_moe",
       .hub_class = "Qwen3MoeForCausalLM",
       .config = R"({"norm_topk_prob": true})",
       .read = SparseLayers},
      {.name = "dots1", .model_type = "dots1", .hub_class = "Dots1ForCausalLM"},
  };
  return rows;
}

}  // namespace nibble
