// SPDX-License-Identifier: Apache-2.0
// Poolside Laguna: q and k heads normed, a number of q heads for each layer, softplus gates on what attention gives; layers that
// slide have a rope of their own; experts by sigmoid beside a shared one, in the layers that mlp_layer_types says.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<std::vector<int64_t>> HeadsOfLayers(const ModelConfig& c) {
  std::vector<int64_t> heads(static_cast<size_t>(c.layers), c.heads);
  const Json* listed = JsonFind(c.json, "num_attention_heads_per_layer");
  if (!listed) return heads;
  if (!listed->is_array() || listed->size() != heads.size())
    return Corrupt("{}: num_attention_heads_per_layer must list a number for each of the {} layers", c.where, c.layers);
  for (size_t i = 0; i < heads.size(); ++i) {
    const Json& count = (*listed)[i];
    heads[i] = count.is_number_integer() ? count.get<int64_t>() : 0;
    if (heads[i] < 1 || heads[i] > 1 << 20 || heads[i] % c.kv_heads != 0)
      return Corrupt("{}: num_attention_heads_per_layer[{}] is {}, wanted a multiple of num_key_value_heads {}", c.where, i,
                     count.dump(), c.kv_heads);
  }
  return heads;
}

Result<MoeBlock> LagunaExperts(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const bool on_input, JsonBool(c.json, "moe_apply_router_weight_on_input", false));
  NIBBLE_TRY_IN(c.where, const double softcap, JsonNumber(c.json, "moe_router_logit_softcapping", 0.0));
  NIBBLE_TRY_IN(c.where, const double scale, JsonNumber(c.json, "moe_routed_scaling_factor", 1.0));
  if (on_input || softcap != 0)
    return Unsupported("{}: moe_apply_router_weight_on_input and moe_router_logit_softcapping are not built", c.where);
  MoeBlock moe{
      .spec = {.hidden = c.hidden, .router = RouterKind::kSigmoidTopK, .scale = static_cast<float>(scale), .gate = {c.act}},
      .choice_bias = "experts.e_score_correction_bias",
      .shared = "shared_expert"};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  NIBBLE_TRY_IN(c.where, moe.spec.inter, JsonInt(c.json, "moe_intermediate_size", 512));
  NIBBLE_TRY_IN(c.where, moe.shared_inter, JsonInt(c.json, "shared_expert_intermediate_size", 512));
  if (moe.spec.inter < 1 || moe.shared_inter < 1) return Corrupt("{}: expert sizes must be positive", c.where);
  const Json* types = JsonFind(c.json, "mlp_layer_types");
  std::vector<bool> sparse;
  for (int64_t i = 0; i < c.layers; ++i) {
    const bool listed = types && types->is_array() && i < static_cast<int64_t>(types->size());
    sparse.push_back(listed ? (*types)[static_cast<size_t>(i)] == "sparse" : i > 0);
  }
  moe.has = [sparse](int64_t layer) { return sparse[static_cast<size_t>(layer)]; };
  return moe;
}

Result<DecoderOptions> LagunaOptions(const ModelConfig& c) {
  NIBBLE_TRY(const std::vector<int64_t> q_heads, HeadsOfLayers(c));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.layer_type = "full_attention"}));
  NIBBLE_RETURN_IF_ERROR(AddWindowRope(c, 10000, &o));
  o.heads = [q_heads, kv = c.kv_heads, dim = c.head_dim](int64_t layer) {
    return GraphBuilder::Heads{.q = q_heads[static_cast<size_t>(layer)], .kv = kv, .dim = dim};
  };
  o.qk_norm = DecoderOptions::kHead;
  const Json* gating = JsonFind(c.json, "gating");
  o.gate_by_head = !gating || *gating == true || *gating == "per-head";
  o.softplus_gate = true;
  o.names.attn_gate = "g_proj";
  NIBBLE_TRY(const MoeBlock moe, LagunaExperts(c));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* laguna_architecture() {
  static const Architecture architecture = MakeDecoder<LagunaOptions>(
      "laguna", {"laguna"},
      R"({"num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128, "sliding_window": 512, "num_experts": 256,
          "num_experts_per_tok": 8,
          "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 500000.0, "partial_rotary_factor": 0.5},
                              "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}})");
  return &architecture;
}

}  // namespace nibble
