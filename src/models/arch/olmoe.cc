// SPDX-License-Identifier: Apache-2.0
// OLMoE: Llama with norms of all q heads and all k heads as one row, q, k, v clamped after them; experts in every layer.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> OlmoeOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_TRY_IN(c.where, const double clip, JsonNumber(c.json, "clip_qkv", 0.0));
  o.qk_norm = DecoderOptions::kWidth;
  o.clip_qkv = static_cast<float>(clip);
  MoeBlock moe{.spec = {.hidden = c.hidden, .inter = c.inter, .gate = {c.act}}};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  NIBBLE_TRY_IN(c.where, moe.spec.renormalize, JsonBool(c.json, "norm_topk_prob", false));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* olmoe_architecture() {
  static const Architecture architecture =
      MakeDecoder<OlmoeOptions>("olmoe", {"olmoe"}, R"({"rms_norm_eps": 1e-5, "num_experts": 64, "num_experts_per_tok": 8})");
  return &architecture;
}

}  // namespace nibble
