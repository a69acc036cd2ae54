// SPDX-License-Identifier: Apache-2.0
// Command R7B: Command R with three sliding layers to one that sees everything; only the sliding ones are rotated.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Cohere2Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t pattern, JsonInt(c.json, "sliding_window_pattern", 4));
  const auto slides = [=](int64_t layer) { return pattern > 0 && (layer + 1) % pattern != 0; };
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.theta = 500000, .interleaved = true}, slides));
  NIBBLE_TRY_IN(c.where, const double logit_scale, JsonNumber(c.json, "logit_scale", 0.0625));
  o.rope = [rope = o.rope, attention = o.attention](int64_t layer) {
    GraphBuilder::AttentionOptions a;
    attention(layer, &a);
    return a.window > 0 ? rope(layer) : nullptr;
  };
  o.norm.rms = false;
  o.parallel = true;
  o.names.mlp_in = "";
  o.head.scale = static_cast<float>(logit_scale);
  return o;
}

}  // namespace

const Architecture* cohere2_architecture() {
  static const Architecture architecture = MakeDecoder<Cohere2Options>(
      "cohere2", {"cohere2"}, R"({"rms_norm_eps": 1e-5, "tie_word_embeddings": true, "sliding_window": 4096})");
  return &architecture;
}

}  // namespace nibble
