// SPDX-License-Identifier: Apache-2.0
// Phi 3.5 MoE: layer norms and biases on a Llama with LongRoPE; experts chosen one after another by SparseMixer.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> PhimoeOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [](int64_t) { return true; }));
  // The published model (rope_scaling, its own code and transformers 4) takes the long factors beyond the original length. Files
  // that transformers 5 wrote say rope_parameters; that library turns by the short factors at every length and changes the
  // attention factor alone.
  if (!JsonFind(c.json, "rope_scaling")) {
    NIBBLE_TRY(RopeSpec rope, RopeFromConfig(c, c.head_dim));
    if (!rope.long_inv_freq.empty()) rope.long_inv_freq = rope.inv_freq;
    o.rope = OneRope(std::move(rope));
  }
  o.norm.rms = false;
  o.norm.bias = true;
  NIBBLE_TRY_IN(c.where, o.head.bias, JsonBool(c.json, "lm_head_bias", false));
  NIBBLE_TRY_IN(c.where, const double jitter, JsonNumber(c.json, "router_jitter_noise", 0.01));
  MoeBlock moe{.spec = {.hidden = c.hidden,
                        .inter = c.inter,
                        .router = RouterKind::kSparseMixer,
                        .jitter_eps = static_cast<float>(jitter),
                        .gate = {c.act}},
               .mlp = "block_sparse_moe.",
               .other_mlp = "mlp."};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* phimoe_architecture() {
  static const Architecture architecture = MakeDecoder<PhimoeOptions>(
      "phimoe", {"phimoe"}, R"({"rope_theta": 1000000, "rms_norm_eps": 1e-5, "num_experts": 16, "num_experts_per_tok": 2})");
  return &architecture;
}

}  // namespace nibble
