// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>

#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

// Files of the time before the split of kv_b_proj hold it whole.
std::vector<GgufName> Latents() {
  return {{"attn_q_a", "self_attn.q_a_proj"},
          {"attn_q_a_norm", "self_attn.q_a_layernorm"},
          {"attn_q_b", "self_attn.q_b_proj"},
          {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
          {"attn_kv_a_norm", "self_attn.kv_a_layernorm"},
          {"attn_k_b.weight", "self_attn.kv_b_proj.k_b", GgufName::kKeyRows},
          {"attn_v_b.weight", "self_attn.kv_b_proj.v_b", GgufName::kValueRows},
          {"attn_kv_b", "self_attn.kv_b_proj"}};
}
std::vector<GgufKey> LatentKeys() {
  return {{"attention.q_lora_rank", "q_lora_rank"},
          {"attention.kv_lora_rank", "kv_lora_rank"},
          {"rope.dimension_count", "qk_rope_head_dim"}};
}

// By the key, or where the file is older than the key by the bias that only such routers have.
bool ChoosesBySigmoid(const GgufReader& reader) {
  if (reader.Has("expert_gating_func")) return reader.Int("expert_gating_func").value_or(0) == 2;
  const int64_t layers = reader.Int("block_count", 0).value_or(0);
  return reader.HasTensor(fmt::format("blk.{}.exp_probs_b.bias", layers - 1));
}

// Sizes of heads as they are before latents are multiplied into them: key_length_mla; key_length in files older than that key.
Status ReadDeepseek(const GgufReader& reader, Json* config) {
  NIBBLE_TRY(const int64_t key_length, reader.Positive("attention.key_length"));
  NIBBLE_TRY(const int64_t value_length, reader.Positive("attention.value_length"));
  NIBBLE_TRY(const int64_t key, reader.Positive("attention.key_length_mla", key_length));
  NIBBLE_TRY(const int64_t value, reader.Positive("attention.value_length_mla", value_length));
  NIBBLE_TRY(const int64_t rotated, reader.Positive("rope.dimension_count"));
  if (key <= rotated) return Corrupt("{}: heads of {} elements of which {} are rotated", reader.path(), key, rotated);
  (*config)["qk_nope_head_dim"] = key - rotated;
  (*config)["v_head_dim"] = value;
  (*config)["head_dim"] = rotated;
  (*config)["num_key_value_heads"] = (*config)["num_attention_heads"];
  if (!reader.Has("attention.q_lora_rank")) (*config)["q_lora_rank"] = nullptr;
  NIBBLE_TRY(const int64_t groups, reader.Int("expert_group_count", 1));
  if (!ChoosesBySigmoid(reader)) (*config)["topk_method"] = groups > 1 ? "group_limited_greedy" : "greedy";
  Json& rope = (*config)["rope_parameters"];
  rope["partial_rotary_factor"] = 1.0;
  // The key is a tenth of mscale_all_dim, by which the scores are scaled; both mscales of these models are equal.
  NIBBLE_TRY(const double log_multiplier, reader.Number("rope.scaling.yarn_log_multiplier", 0.0));
  if (log_multiplier != 0) rope["mscale"] = rope["mscale_all_dim"] = std::round(log_multiplier * 1e6) / 1e5;
  return {};
}

Status WriteDeepseek(const Json& config, Json* keys) {
  NIBBLE_TRY(const int64_t rank, JsonInt(config, "kv_lora_rank", 512));
  NIBBLE_TRY(const int64_t plain, JsonInt(config, "qk_nope_head_dim", 128));
  NIBBLE_TRY(const int64_t rotated, JsonInt(config, "qk_rope_head_dim", 64));
  NIBBLE_TRY(const int64_t value, JsonInt(config, "v_head_dim", 128));
  (*keys)["attention.head_count_kv"] = 1;
  (*keys)["attention.key_length"] = rank + rotated;
  (*keys)["attention.value_length"] = rank;
  (*keys)["attention.key_length_mla"] = plain + rotated;
  (*keys)["attention.value_length_mla"] = value;
  (*keys)["rope.dimension_count"] = rotated;
  const Json* mscale = FindPath(config, "rope_parameters.mscale_all_dim");
  if (!mscale) mscale = FindPath(config, "rope_scaling.mscale_all_dim");
  if (mscale && mscale->is_number()) (*keys)["rope.scaling.yarn_log_multiplier"] = 0.1 * mscale->get<double>();
  return {};
}

}  // namespace

std::span<const GgufArchitecture> deepseek_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "deepseek2",
       .model_type = "deepseek_v3",
       .hub_class = "DeepseekV3ForCausalLM",
       .names = Latents(),
       .keys = LatentKeys(),
       .constants = {{"expert_gating_func", 2}},
       .is = ChoosesBySigmoid,
       .read = ReadDeepseek,
       .write = WriteDeepseek},
      {.name = "deepseek2",
       .model_type = "deepseek_v2",
       .hub_class = "DeepseekV2ForCausalLM",
       .names = Latents(),
       .keys = LatentKeys(),
       .constants = {{"expert_gating_func", 1}},
       .read = ReadDeepseek,
       .write = WriteDeepseek},
      {.name = "deepseek2",  // written as DeepSeek V3, which it is, and read as that
       .model_type = "glm4_moe_lite",
       .hub_class = "Glm4MoeLiteForCausalLM",
       .names = Latents(),
       .keys = LatentKeys(),
       .constants = {{"expert_gating_func", 2}},
       .is = [](const GgufReader&) { return false; },
       .write = WriteDeepseek},
  };
  return rows;
}

}  // namespace nibble
