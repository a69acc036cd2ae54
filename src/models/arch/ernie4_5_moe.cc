// SPDX-License-Identifier: Apache-2.0
// ERNIE 4.5 MoE: rotated in pairs; experts by softmax, chosen with a bias, beside shared ones, from moe_layer_start_index on.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Ernie45MoeOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.interleaved = true}));
  NIBBLE_TRY_IN(c.where, const bool bias, JsonBool(c.json, "use_bias", false));
  NIBBLE_TRY_IN(c.where, const int64_t first, JsonInt(c.json, "moe_layer_start_index", 1));
  NIBBLE_TRY_IN(c.where, const int64_t end, JsonInt(c.json, "moe_layer_end_index", -1));
  NIBBLE_TRY_IN(c.where, const int64_t interval, JsonInt(c.json, "moe_layer_interval", 1));
  NIBBLE_TRY_IN(c.where, const int64_t shared, JsonInt(c.json, "moe_num_shared_experts", 2));
  o.qkv_bias = o.o_bias = o.mlp_bias = o.head.bias = bias;
  MoeBlock moe{.spec = {.hidden = c.hidden, .gate = {c.act}}, .choice_bias = "moe_statics.e_score_correction_bias"};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  NIBBLE_TRY_IN(c.where, moe.spec.inter, JsonInt(c.json, "moe_intermediate_size", 1536));
  if (moe.spec.inter < 1 || interval < 1)
    return Corrupt("{}: moe_intermediate_size and moe_layer_interval must be positive", c.where);
  if (shared > 0) {
    moe.shared = "shared_experts";
    moe.shared_inter = shared * moe.spec.inter;
  }
  moe.has = [=](int64_t layer) { return (layer + 1) % interval == 0 && layer >= first && (end < 0 || layer <= end); };
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* ernie4_5_moe_architecture() {
  static const Architecture architecture = MakeDecoder<Ernie45MoeOptions>(
      "ernie4_5_moe", {"ernie4_5_moe"},
      R"({"rms_norm_eps": 1e-5, "rope_theta": 500000, "tie_word_embeddings": true, "num_experts": 64, "num_experts_per_tok": 6})");
  return &architecture;
}

}  // namespace nibble
