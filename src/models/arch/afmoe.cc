// SPDX-License-Identifier: Apache-2.0
// Arcee Trinity: attention behind a gate, three sliding layers to one that sees everything and is not rotated; norms before and
// after attention and MLP; experts by sigmoid beside a shared one; embeddings times sqrt(hidden).
#include <cmath>

#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> AfmoeOptions(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t every, JsonInt(c.json, "global_attn_every_n_layers", 4));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [=](int64_t layer) { return every > 0 && (layer + 1) % every != 0; }));
  NIBBLE_TRY_IN(c.where, const bool mup, JsonBool(c.json, "mup_enabled", false));
  NIBBLE_TRY_IN(c.where, const double scale, JsonNumber(c.json, "route_scale", 1.0));
  NIBBLE_TRY_IN(c.where, const int64_t dense, JsonInt(c.json, "num_dense_layers", 1));
  NIBBLE_TRY_IN(c.where, const int64_t shared, JsonInt(c.json, "num_shared_experts", 0));
  o.rope = [rope = o.rope, attention = o.attention](int64_t layer) {
    GraphBuilder::AttentionOptions a;
    attention(layer, &a);
    return a.window > 0 ? rope(layer) : nullptr;
  };
  if (mup) o.embed_scale = std::sqrt(static_cast<float>(c.hidden));
  o.qk_norm = DecoderOptions::kHead;
  o.names.attn_gate = "gate_proj";
  o.names.attn_out = "post_attention_layernorm";
  o.names.mlp_in = "pre_mlp_layernorm";
  o.names.mlp_out = "post_mlp_layernorm";
  MoeBlock moe{.spec = {.hidden = c.hidden,
                        .router = RouterKind::kSigmoidTopK,
                        .renormalize = true,  // route_norm is true in every published config, and the library does not read it

                        .renormalize_eps = 1e-20f,
                        .scale = static_cast<float>(scale),
                        .gate = {c.act}},
               .router = "router.gate",
               .choice_bias = "expert_bias"};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  NIBBLE_TRY_IN(c.where, moe.spec.inter, JsonInt(c.json, "moe_intermediate_size", 1408));
  if (moe.spec.inter < 1) return Corrupt("{}: moe_intermediate_size is {}, wanted a positive number", c.where, moe.spec.inter);
  if (shared > 0) {
    moe.shared = "shared_experts";
    moe.shared_inter = shared * moe.spec.inter;
  }
  moe.has = [=](int64_t layer) { return layer >= dense; };
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* afmoe_architecture() {
  static const Architecture architecture = MakeDecoder<AfmoeOptions>(
      "afmoe", {"afmoe"},
      R"({"rms_norm_eps": 1e-5, "head_dim": 128, "sliding_window": 1024, "num_experts": 64, "num_experts_per_tok": 6})");
  return &architecture;
}

}  // namespace nibble
