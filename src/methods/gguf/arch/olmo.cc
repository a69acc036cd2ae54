// SPDX-License-Identifier: Apache-2.0
// Families that norm what their blocks give, and OLMo, which norms without weights.
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

std::vector<GgufName> PostNorms() {
  return {{"post_attention_norm", "post_attention_layernorm"},
          {"post_ffw_norm", "post_feedforward_layernorm"},
          {"attn_norm", ""},
          {"ffn_norm", ""}};
}

bool HasWindow(const GgufReader& reader) { return reader.Int("attention.sliding_window", 0).value_or(0) > 0; }

Status Exaone(const GgufReader& reader, Json* config) { return HasWindow(reader) ? EveryFourthSeesAll(reader, config) : Status(); }

}  // namespace

std::span<const GgufArchitecture> olmo_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "olmo",
       .model_type = "olmo",
       .hub_class = "OlmoForCausalLM",
       .permuted = true,
       .layer_norm = true,
       .keys = {{"attention.clamp_kqv", "clip_qkv", GgufKey::kNumber}}},
      {.name = "olmo2",
       .model_type = "olmo3",
       .hub_class = "Olmo3ForCausalLM",
       .names = PostNorms(),
       .is = HasWindow,
       .read = EveryFourthSeesAll},
      {.name = "olmo2", .model_type = "olmo2", .hub_class = "Olmo2ForCausalLM", .names = PostNorms()},
      {.name = "olmoe",
       .model_type = "olmoe",
       .hub_class = "OlmoeForCausalLM",
       .keys = {{"attention.clamp_kqv", "clip_qkv", GgufKey::kNumber}},
       .config = R"({"norm_topk_prob": false})"},
      {.name = "exaone4", .model_type = "exaone4", .hub_class = "Exaone4ForCausalLM", .names = PostNorms(), .read = Exaone},
  };
  return rows;
}

}  // namespace nibble
