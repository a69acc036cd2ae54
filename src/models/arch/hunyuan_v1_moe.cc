// SPDX-License-Identifier: Apache-2.0
// HunYuan A13B: norms of q and k heads after the rotation; experts beside a shared MLP.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> HunyuanV1MoeOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, HunyuanOptions(c));
  MoeBlock moe{.spec = {.hidden = c.hidden, .inter = c.inter, .gate = {c.act}},
               .router = "gate.wg",
               .shared = "shared_mlp",
               .shared_inter = c.inter};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* hunyuan_v1_moe_architecture() {
  static const Architecture architecture = MakeDecoder<HunyuanV1MoeOptions>(
      "hunyuan_v1_moe", {"hunyuan_v1_moe"}, R"({"rms_norm_eps": 1e-5, "num_experts": 1, "num_experts_per_tok": 1})");
  return &architecture;
}

}  // namespace nibble
