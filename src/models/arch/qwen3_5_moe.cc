// SPDX-License-Identifier: Apache-2.0
// Qwen3.5 with experts beside a shared one, text; the rest as in Qwen3.5.
#include "models/hybrid.h"

namespace nibble {
namespace {

Result<DecoderOptions> Qwen35MoeOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, QwenHybridOptions(c, false));
  NIBBLE_TRY(MoeBlock moe, QwenHybridMoe(c));
  o.mlp = MoeMlp(std::move(moe));
  return o;
}

}  // namespace

const Architecture* qwen3_5_moe_architecture() {
  static const Architecture architecture = MakeDecoder<Qwen35MoeOptions>(
      "qwen3_5_moe", {"qwen3_5_moe_text", "qwen3_5_moe"}, R"({"head_dim": 256, "num_experts": 256, "num_experts_per_tok": 8})",
      {"rotary_emb.inv_freq", "mtp."});
  return &architecture;
}

}  // namespace nibble
