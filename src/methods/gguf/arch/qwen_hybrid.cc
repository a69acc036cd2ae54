// SPDX-License-Identifier: Apache-2.0
// Qwen3-Next and 3.5: gated delta nets and attention. llama.cpp has q, k and v of a net in one tensor and z in another; from 3.5 on
// it tiles value heads.
#include <algorithm>

#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

std::vector<GgufName> QwenHybridNames(bool tiled) {
  const GgufName::Tiles rows = tiled ? GgufName::kRows : GgufName::kNone, columns = tiled ? GgufName::kColumns : GgufName::kNone,
                        numbers = tiled ? GgufName::kNumbers : GgufName::kNone;
  std::vector<GgufName> names = {
      {"attn_norm", "input_layernorm", GgufName::kPlusOne},
      {"post_attention_norm", "post_attention_layernorm", GgufName::kPlusOne},
      {"attn_q_norm", "self_attn.q_norm", GgufName::kPlusOne},
      {"attn_k_norm", "self_attn.k_norm", GgufName::kPlusOne},
      {"attn_qkv", "linear_attn.in_proj_q+linear_attn.in_proj_k+linear_attn.in_proj_v", GgufName::kPlain, rows},
      {"attn_gate", "linear_attn.in_proj_z", GgufName::kPlain, rows},
      {"ssm_conv1d", "linear_attn.conv1d", GgufName::kPlain, numbers},
      {"ssm_a", "linear_attn.A_log", GgufName::kNegExp, numbers},
      {"ssm_dt.bias", "linear_attn.dt_bias", GgufName::kPlain, numbers},
      {"ssm_norm", "linear_attn.norm"},
      {"ssm_out", "linear_attn.out_proj", GgufName::kPlain, columns},
      {"ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
      {"ffn_up_shexp", "mlp.shared_expert.up_proj"},
      {"ffn_down_shexp", "mlp.shared_expert.down_proj"},
      {"ffn_gate_inp_shexp", "mlp.shared_expert_gate"},
  };
  if (tiled) {
    names.push_back({"ssm_alpha", "linear_attn.in_proj_a", GgufName::kPlain, rows});
    names.push_back({"ssm_beta", "linear_attn.in_proj_b", GgufName::kPlain, rows});
  } else {
    names.push_back({"ssm_ba", "linear_attn.in_proj_ba"});
  }
  return names;
}

std::vector<GgufKey> Keys() {
  return {{"ssm.conv_kernel", "linear_conv_kernel_dim"},
          {"ssm.state_size", "linear_key_head_dim"},
          {"ssm.group_count", "linear_num_key_heads"},
          {"ssm.time_step_rank", "linear_num_value_heads"},
          {"full_attention_interval", "full_attention_interval"}};
}

Result<std::array<int64_t, 3>> QwenQkvRows(const GgufReader& reader, int64_t) {
  NIBBLE_TRY(const int64_t groups, reader.Positive("ssm.group_count"));
  NIBBLE_TRY(const int64_t size, reader.Positive("ssm.state_size"));
  NIBBLE_TRY(const int64_t inner, reader.Positive("ssm.inner_size"));
  return std::array<int64_t, 3>{groups * size, groups * size, inner};
}

Status ReadQwenHybrid(const GgufReader& reader, Json* config) {
  NIBBLE_TRY(const int64_t inner, reader.Positive("ssm.inner_size"));
  NIBBLE_TRY(const int64_t heads, reader.Positive("ssm.time_step_rank"));
  if (inner % heads != 0) return Corrupt("{}: {} heads in {} channels of linear attention", reader.path(), heads, inner);
  (*config)["linear_value_head_dim"] = inner / heads;
  NIBBLE_TRY(const std::vector<int64_t> recurrent, reader.Ints("attention.recurrent_layers"));
  NIBBLE_TRY(const int64_t every, reader.Int("full_attention_interval", 4));
  NIBBLE_TRY(const int64_t further, reader.Int("nextn_predict_layers", 0));
  const int64_t layers = (*config)["num_hidden_layers"].get<int64_t>() - further;
  if (layers < 1 || further < 0) return Corrupt("{}: {} layers that predict further tokens", reader.path(), further);
  (*config)["num_hidden_layers"] = layers;
  Json types = Json::array();
  for (int64_t i = 0; i < layers; ++i) {
    const bool linear = static_cast<int64_t>(recurrent.size()) >= layers ? recurrent[static_cast<size_t>(i)] != 0
                                                                         : every < 1 || (i + 1) % every != 0;
    types.push_back(linear ? "linear_attention" : "full_attention");
  }
  (*config)["layer_types"] = std::move(types);
  return {};
}

Status WriteQwenHybrid(const Json& config, Json* keys) {
  NIBBLE_TRY(const int64_t heads, JsonInt(config, "linear_num_value_heads", 32));
  NIBBLE_TRY(const int64_t dim, JsonInt(config, "linear_value_head_dim", 128));
  (*keys)["ssm.inner_size"] = heads * dim;
  Json recurrent = Json::array();
  int64_t kv = 1;
  for (const Json& each : (*keys)["attention.head_count_kv"]) recurrent.push_back(each == 0);
  for (const Json& each : (*keys)["attention.head_count_kv"]) kv = std::max(kv, each.get<int64_t>());
  (*keys)["attention.recurrent_layers"] = std::move(recurrent);
  (*keys)["attention.head_count_kv"] = kv;
  return {};
}

}  // namespace

std::span<const GgufArchitecture> qwen_hybrid_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "qwen3next",
       .model_type = "qwen3_next",
       .hub_class = "Qwen3NextForCausalLM",
       .kv_by_layer = true,
       .globals = {{"output_norm", "model.norm", GgufName::kPlusOne}},
       .names = QwenHybridNames(false),
       .keys = Keys(),
       .config = R"({"norm_topk_prob": true})",
       .qkv_rows = QwenQkvRows,
       .read = ReadQwenHybrid,
       .write = WriteQwenHybrid},
      {.name = "qwen35",
       .model_type = "qwen3_5_text",
       .hub_class = "Qwen3_5ForCausalLM",
       .kv_by_layer = true,
       .globals = {{"output_norm", "model.norm", GgufName::kPlusOne}},
       .names = QwenHybridNames(true),
       .keys = Keys(),
       .qkv_rows = QwenQkvRows,
       .read = ReadQwenHybrid,
       .write = WriteQwenHybrid},
      {.name = "qwen35moe",
       .model_type = "qwen3_5_moe_text",
       .hub_class = "Qwen3_5MoeForCausalLM",
       .kv_by_layer = true,
       .globals = {{"output_norm", "model.norm", GgufName::kPlusOne}},
       .names = QwenHybridNames(true),
       .keys = Keys(),
       .config = R"({"norm_topk_prob": true})",
       .qkv_rows = QwenQkvRows,
       .read = ReadQwenHybrid,
       .write = WriteQwenHybrid},
  };
  return rows;
}

}  // namespace nibble
