// SPDX-License-Identifier: Apache-2.0
// Granite 3 MoE: Granite with experts in every layer, softmax over the chosen; all experts in one tensor.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_RETURN_IF_ERROR(AddGraniteMultipliers(c, &o));
  MoeBlock moe{.spec = {.hidden = c.hidden, .inter = c.inter, .router = RouterKind::kTopKSoftmax, .gate = {c.act}},
               .mlp = "block_sparse_moe.",
               .router = "router.layer"};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* granitemoe_architecture() {
  static const Architecture architecture = MakeDecoder<Options>(
      "granitemoe", {"granitemoe"}, R"({"tie_word_embeddings": true, "num_experts": 8, "num_experts_per_tok": 2})");
  return &architecture;
}

}  // namespace nibble
