// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

// Layers without kv heads convolve.
Status Lfm2Layers(const GgufReader& reader, Json* config) {
  NIBBLE_TRY(const std::vector<int64_t> kv, reader.Ints("attention.head_count_kv"));
  Json types = Json::array();
  for (int64_t i = 0; i < (*config)["num_hidden_layers"].get<int64_t>(); ++i) {
    const bool conv = static_cast<size_t>(i) < kv.size() && kv[static_cast<size_t>(i)] == 0;
    types.push_back(conv ? "conv" : "full_attention");
  }
  (*config)["layer_types"] = std::move(types);
  return {};
}

std::vector<GgufName> Globals() { return {{"token_embd_norm", "model.embedding_norm"}, {"output_norm", "model.embedding_norm"}}; }

std::vector<GgufName> Lfm2Names() {
  return {{"attn_norm", "operator_norm"},
          {"ffn_norm", "ffn_norm"},
          {"attn_output", "self_attn.out_proj"},
          {"attn_q_norm", "self_attn.q_layernorm"},
          {"attn_k_norm", "self_attn.k_layernorm"},
          {"ffn_gate", "feed_forward.w1"},
          {"ffn_up", "feed_forward.w3"},
          {"ffn_down", "feed_forward.w2"},
          {"shortconv.conv.weight", "conv.conv.weight"},
          {"shortconv.in_proj.weight", "conv.in_proj_b.weight|conv.in_proj_c.weight|conv.in_proj_x.weight"},
          {"shortconv.out_proj.weight", "conv.out_proj.weight"}};
}

std::vector<GgufName> NamesWithExperts() {
  std::vector<GgufName> names = Lfm2Names();
  const GgufName experts[] = {{"ffn_gate_inp", "feed_forward.gate"},
                              {"exp_probs_b.bias", "feed_forward.expert_bias"},
                              {"ffn_gate_exps", "feed_forward.experts.*.gate_proj"},
                              {"ffn_up_exps", "feed_forward.experts.*.up_proj"},
                              {"ffn_down_exps", "feed_forward.experts.*.down_proj"}};
  names.insert(names.end(), std::begin(experts), std::end(experts));
  return names;
}

}  // namespace

std::span<const GgufArchitecture> lfm2_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "lfm2",
       .model_type = "lfm2",
       .hub_class = "Lfm2ForCausalLM",
       .kv_by_layer = true,
       .globals = Globals(),
       .names = Lfm2Names(),
       .keys = {{"shortconv.l_cache", "conv_L_cache"}},
       .config = R"({"block_auto_adjust_ff_dim": false})",
       .read = Lfm2Layers},
      {.name = "lfm2moe",
       .model_type = "lfm2_moe",
       .hub_class = "Lfm2MoeForCausalLM",
       .kv_by_layer = true,
       .globals = Globals(),
       .names = NamesWithExperts(),
       .keys = {{"shortconv.l_cache", "conv_L_cache"},
                {"leading_dense_block_count", "num_dense_layers"},
                {"exp_probs_b.bias", "use_expert_bias", GgufKey::kHasTensor}},
       .config = R"({"use_expert_bias": false, "norm_topk_prob": true})",
       .constants = {{"expert_gating_func", 2}},
       .read = Lfm2Layers},
  };
  return rows;
}

}  // namespace nibble
