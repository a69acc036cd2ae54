// SPDX-License-Identifier: Apache-2.0
// LFM2 with experts by sigmoid, chosen with a bias, after the first dense layers.
#include "models/hybrid.h"

namespace nibble {
namespace {

Result<DecoderOptions> Lfm2MoeOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, Lfm2Options(c));
  NIBBLE_TRY_IN(c.where, const int64_t dense, JsonInt(c.json, "num_dense_layers", 2));
  NIBBLE_TRY_IN(c.where, const bool has_bias, JsonBool(c.json, "use_expert_bias", true));
  NIBBLE_TRY_IN(c.where, const bool renormalize, JsonBool(c.json, "norm_topk_prob", true));
  NIBBLE_TRY_IN(c.where, const double scale, JsonNumber(c.json, "routed_scaling_factor", 1.0));
  MoeBlock moe{.spec = {.hidden = c.hidden,
                        .router = RouterKind::kSigmoidTopK,
                        .renormalize = renormalize,
                        .renormalize_eps = 1e-6f,
                        .scale = static_cast<float>(scale),
                        .gate = {c.act}},
               .mlp = "feed_forward.",
               .choice_bias = has_bias ? "expert_bias" : ""};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  NIBBLE_TRY_IN(c.where, moe.spec.inter, JsonInt(c.json, "moe_intermediate_size", 1792));
  if (moe.spec.inter < 1) return Corrupt("{}: moe_intermediate_size is {}, wanted a positive number", c.where, moe.spec.inter);
  moe.has = [=](int64_t layer) { return layer >= dense; };
  o.mlp = MoeMlp(std::move(moe));
  return o;
}

}  // namespace

const Architecture* lfm2_moe_architecture() {
  static const Architecture architecture = MakeDecoder<Lfm2MoeOptions>(
      "lfm2_moe", {"lfm2_moe"},
      R"({"rope_theta": 1000000, "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "num_key_value_heads": 8, "num_experts": 32,
          "num_experts_per_tok": 4})");
  return &architecture;
}

}  // namespace nibble
