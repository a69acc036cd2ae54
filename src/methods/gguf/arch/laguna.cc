// SPDX-License-Identifier: Apache-2.0
// Laguna: heads of q by layer, gates on what attention gives, experts behind dense layers.
#include <fmt/format.h>

#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

constexpr std::string_view kGate = "blk.0.attn_gate.weight";

// Layers slide but for the first of four; without a window none does.
Status ReadLayers(const GgufReader& reader, Json* config) {
  NIBBLE_TRY(const std::vector<int64_t> heads, reader.ByLayer("attention.head_count"));
  (*config)["num_attention_heads"] = heads[0];
  (*config)["num_attention_heads_per_layer"] = heads;
  Json mlps = Json::array();
  for (size_t i = 0; i < heads.size(); ++i)
    mlps.push_back(reader.HasTensor(fmt::format("blk.{}.ffn_gate_inp.weight", i)) ? "sparse" : "dense");
  (*config)["mlp_layer_types"] = std::move(mlps);
  (*config)["layer_types"] = std::vector<std::string>(heads.size(), "full_attention");
  if (!config->contains("sliding_window")) return {};
  NIBBLE_TRY((*config)["layer_types"], reader.LayerTypes(4, GgufReader::kFirst));
  const Json& rope = (*config)["rope_parameters"];
  return RopeOfWindows(reader, (*config)["head_dim"].get<int64_t>(), rope["rope_theta"].get<double>(), config);
}

// A gate for each head or for each of its elements, as the matrix has rows.
Status ReadLaguna(const GgufReader& reader, Json* config) {
  NIBBLE_RETURN_IF_ERROR(ReadLayers(reader, config));
  const StoredTensor* gate = reader.file().tensors.Find(kGate);
  const bool by_head = gate && gate->shape.rank() == 2 && gate->shape[0] == (*config)["num_attention_heads"].get<int64_t>();
  (*config)["gating"] = by_head ? "per-head" : "per-element";
  return {};
}

Status WriteLaguna(const Json& config, Json* keys) {
  NIBBLE_TRY((*keys)["expert_shared_feed_forward_length"], JsonInt(config, "shared_expert_intermediate_size", 512));
  size_t dense = 1;
  if (const Json* types = JsonFind(config, "mlp_layer_types"); types && types->is_array()) {
    dense = 0;
    for (size_t i = 0; i < types->size(); ++i) {
      const Json& type = (*types)[i];
      if (type.is_string() && type.get<std::string>() == "sparse") continue;
      if (dense < i)
        return Unsupported("mlp_layer_types[{}] is {} behind layers with experts; GGUF's laguna has dense layers only before them",
                           i, type.dump());
      ++dense;
    }
  }
  (*keys)["leading_dense_block_count"] = dense;
  return {};
}

}  // namespace

std::span<const GgufArchitecture> laguna_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "laguna",
       .model_type = "laguna",
       .hub_class = "LagunaForCausalLM",
       .heads_by_layer = true,
       .names = {{"attn_gate", "self_attn.g_proj"},
                 {"exp_probs_b.bias", "mlp.experts.e_score_correction_bias"},
                 {"ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
                 {"ffn_up_shexp", "mlp.shared_expert.up_proj"},
                 {"ffn_down_shexp", "mlp.shared_expert.down_proj"}},
       .keys = {{"expert_weights_scale", "moe_routed_scaling_factor", GgufKey::kNumber}},
       .constants = {{"expert_gating_func", 2}},
       .read = ReadLaguna,
       .write = WriteLaguna},
  };
  return rows;
}

}  // namespace nibble
