// SPDX-License-Identifier: Apache-2.0
// MiniMax M2: norms of all q heads and all k heads as one row, part of each head rotated; experts by sigmoid, chosen with a bias.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> MinimaxM2Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t rotary, JsonInt(c.json, "rotary_dim", c.head_dim));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = static_cast<double>(rotary) / static_cast<double>(c.head_dim)}));
  o.qk_norm = DecoderOptions::kWidth;
  MoeBlock moe{.spec = {.hidden = c.hidden, .inter = c.inter, .router = RouterKind::kSigmoidTopK, .gate = {c.act}},
               .mlp = "block_sparse_moe.",
               .other_mlp = "mlp.",
               .choice_bias = "e_score_correction_bias"};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* minimax_m2_architecture() {
  static const Architecture architecture = MakeDecoder<MinimaxM2Options>(
      "minimax_m2", {"minimax_m2"}, R"({"rope_theta": 5000000, "num_experts": 256, "num_experts_per_tok": 8})");
  return &architecture;
}

}  // namespace nibble
