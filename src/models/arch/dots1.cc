// SPDX-License-Identifier: Apache-2.0
// dots.llm1: Qwen 3's attention, layers from max_window_layers on slide; DeepSeek V3's experts after the first dense layers.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Dots1Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t first, JsonInt(c.json, "max_window_layers", 62));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [=](int64_t layer) { return layer >= first; }));
  o.qk_norm = DecoderOptions::kHead;
  NIBBLE_TRY(const MoeBlock moe, DeepseekMoe(c));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* dots1_architecture() {
  static const Architecture architecture =
      MakeDecoder<Dots1Options>("dots1", {"dots1"}, R"({"sliding_window": 4096, "norm_topk_prob": false})");
  return &architecture;
}

}  // namespace nibble
