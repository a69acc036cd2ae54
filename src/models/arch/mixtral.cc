// SPDX-License-Identifier: Apache-2.0
// Mixtral: Mistral with a mixture of experts for its MLP; softmax over all experts, the best top_k renormalized.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> MixtralOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [](int64_t) { return true; }));
  MoeBlock moe{.spec = {.hidden = c.hidden, .inter = c.inter, .gate = {c.act}}, .mlp = "block_sparse_moe.", .other_mlp = "mlp."};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* mixtral_architecture() {
  static const Architecture architecture = MakeDecoder<MixtralOptions>(
      "mixtral", {"mixtral"}, R"({"rope_theta": 1000000, "rms_norm_eps": 1e-5, "num_experts": 8, "num_experts_per_tok": 2})");
  return &architecture;
}

}  // namespace nibble
