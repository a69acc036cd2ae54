// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/names.h"

#include <fmt/format.h>

#include <span>

namespace nibble {
namespace {

constexpr GgufArchitecture kArchitectures[] = {
    {"llama", "llama", "LlamaForCausalLM", true, false, "mlp"},
    {"llama", "mixtral", "MixtralForCausalLM", true, false, "block_sparse_moe"},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", false, false, "mlp"},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", false, true, "mlp"},
    {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", false, true, "mlp"},
};

struct Pair {
  std::string_view gguf, hub;
};
constexpr Pair kGlobal[] = {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
constexpr Pair kInLayer[] = {
    {"attn_norm", "input_layernorm"}, {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},   {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},    {"ffn_up", "mlp.up_proj"},           {"ffn_down", "mlp.down_proj"},
};
constexpr Pair kNorms[] = {{"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"}};
constexpr Pair kExperts[] = {{"ffn_gate_exps", "gate_proj"}, {"ffn_up_exps", "up_proj"}, {"ffn_down_exps", "down_proj"}};

std::optional<std::string_view> Lookup(std::span<const Pair> table, std::string_view name) {
  for (const Pair& pair : table)
    if (pair.gguf == name) return pair.hub;
  return std::nullopt;
}

// "blk.12.attn_q.weight" -> {"12", "attn_q", ".weight"}; without "blk." the layer is empty. Names without a dot at the end:
// nullopt.
struct Parts {
  std::string_view layer, module, suffix;
};
std::optional<Parts> Cut(std::string_view name) {
  Parts parts;
  if (name.starts_with("blk.")) {
    name.remove_prefix(4);
    const size_t dot = name.find('.');
    if (dot == 0 || dot == std::string_view::npos || dot > 6) return std::nullopt;
    parts.layer = name.substr(0, dot);
    if (parts.layer.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
    name.remove_prefix(dot + 1);
  }
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  parts.module = name.substr(0, dot);
  parts.suffix = name.substr(dot);
  return parts;
}

}  // namespace

const GgufArchitecture* FindGgufArchitecture(std::string_view name, bool experts) {
  const GgufArchitecture* found = nullptr;
  for (const GgufArchitecture& row : kArchitectures)
    if (row.name == name && (!found || experts)) found = &row;
  return found;
}

std::string GgufArchitectureNames() {
  std::string names;
  for (const GgufArchitecture& row : kArchitectures)
    if (names.find(row.name) == std::string::npos || row.name == "qwen3")
      names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  return names;
}

std::optional<std::string> HubTensorName(std::string_view gguf_name, const GgufArchitecture& architecture) {
  const auto parts = Cut(gguf_name);
  if (!parts) return std::nullopt;
  if (parts->layer.empty()) {
    const auto hub = Lookup(kGlobal, parts->module);
    return hub ? std::optional(fmt::format("{}{}", *hub, parts->suffix)) : std::nullopt;
  }
  auto hub = Lookup(kInLayer, parts->module);
  if (!hub && architecture.qk_norm) hub = Lookup(kNorms, parts->module);
  if (hub) return fmt::format("model.layers.{}.{}{}", parts->layer, *hub, parts->suffix);
  if (parts->module == "ffn_gate_inp")
    return fmt::format("model.layers.{}.{}.gate{}", parts->layer, architecture.moe, parts->suffix);
  return std::nullopt;
}

std::optional<HubExpertName> HubExpertTensorName(std::string_view gguf_name, const GgufArchitecture& architecture) {
  const auto parts = Cut(gguf_name);
  if (!parts || parts->layer.empty()) return std::nullopt;
  const auto hub = Lookup(kExperts, parts->module);
  if (!hub) return std::nullopt;
  return HubExpertName{fmt::format("model.layers.{}.{}.experts.", parts->layer, architecture.moe),
                       fmt::format(".{}{}", *hub, parts->suffix)};
}

}  // namespace nibble
