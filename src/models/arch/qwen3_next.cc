// SPDX-License-Identifier: Apache-2.0
// Qwen3-Next: three layers of the gated delta rule to one of gated attention; experts beside a shared one. The rows of each key
// head stand together in in_proj_qkvz and in_proj_ba.
#include "models/hybrid.h"

namespace nibble {
namespace {

Result<DecoderOptions> Qwen3NextOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, QwenHybridOptions(c, true));
  NIBBLE_TRY(MoeBlock moe, QwenHybridMoe(c));
  o.mlp = MoeMlp(std::move(moe));
  return o;
}

}  // namespace

const Architecture* qwen3_next_architecture() {
  // The "mtp." layers guess tokens ahead; nothing here runs them.
  static const Architecture architecture = MakeDecoder<Qwen3NextOptions>(
      "qwen3_next", {"qwen3_next"}, R"({"head_dim": 256, "num_experts": 512, "num_experts_per_tok": 10})",
      {"rotary_emb.inv_freq", "mtp."});
  return &architecture;
}

}  // namespace nibble
