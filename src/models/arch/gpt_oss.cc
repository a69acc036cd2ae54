// SPDX-License-Identifier: Apache-2.0
// gpt-oss: attention sinks, every other layer sliding, yarn, biases everywhere; experts with biases and a clamped SwiGLU, gate and
// up rows alternating.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> GptOssOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [](int64_t layer) { return layer % 2 == 0; }));
  o.attention = [windows = o.attention](int64_t layer, GraphBuilder::AttentionOptions* a) {
    windows(layer, a);
    a->sinks = fmt::format("model.layers.{}.self_attn.sinks", layer);
  };
  NIBBLE_TRY_IN(c.where, const double limit, JsonNumber(c.json, "swiglu_limit", 7.0));
  MoeBlock moe{.spec = {.stacked_transposed = true,
                        .stacked_interleaved = true,
                        .hidden = c.hidden,
                        .inter = c.inter,
                        .router = RouterKind::kTopKSoftmax,
                        .gate = {.act = c.act, .limit = static_cast<float>(limit), .alpha = 1.702f}},
               .router = "router",
               .router_bias = true};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* gpt_oss_architecture() {
  static const Architecture architecture = MakeDecoder<GptOssOptions>(
      "gpt_oss", {"gpt_oss"},
      R"({"rms_norm_eps": 1e-5, "rope_theta": 150000, "attention_bias": true, "sliding_window": 128, "head_dim": 64, "num_experts": 128, "num_experts_per_tok": 4})");
  return &architecture;
}

}  // namespace nibble
