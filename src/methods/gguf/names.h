// SPDX-License-Identifier: Apache-2.0
// GGUF's vocabulary in the hub's: tensor names, and the architectures whose metadata is understood.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nibble {

struct GgufArchitecture {
  std::string_view name;        // general.architecture
  std::string_view model_type;  // of config.json
  std::string_view hub_class;
  bool permuted;         // rows of q_proj and k_proj are in interleaved rope order
  bool qk_norm;          // has attn_q_norm, attn_k_norm
  std::string_view moe;  // "mlp" or "block_sparse_moe": the module that holds router and experts
};
// Null if unknown. "llama" with experts is its own row (Mixtral).
const GgufArchitecture* FindGgufArchitecture(std::string_view name, bool experts);
// "llama, qwen2, ...": for messages.
std::string GgufArchitectureNames();

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight". Nullopt: no such name in this architecture.
std::optional<std::string> HubTensorName(std::string_view gguf_name, const GgufArchitecture& architecture);

// "blk.3.ffn_gate_exps.weight" (3-D, one tensor for all experts) -> the parts around the expert's number:
// "model.layers.3.mlp.experts." and ".gate_proj.weight".
struct HubExpertName {
  std::string before, after;
};
std::optional<HubExpertName> HubExpertTensorName(std::string_view gguf_name, const GgufArchitecture& architecture);

}  // namespace nibble
