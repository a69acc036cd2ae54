// SPDX-License-Identifier: Apache-2.0
// Qwen 2 and 2.5, and the text of their VL models: Llama with biases on q, k and v; layers from max_window_layers on slide when
// use_sliding_window says so.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Qwen2Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const bool use_window, JsonBool(c.json, "use_sliding_window", false));
  NIBBLE_TRY_IN(c.where, const int64_t first, JsonInt(c.json, "max_window_layers", 28));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [=](int64_t layer) { return use_window && layer >= first; }));
  o.qkv_bias = true;
  o.o_bias = false;
  return o;
}

}  // namespace

const Architecture* qwen2_architecture() {
  static const Architecture architecture = MakeDecoder<Qwen2Options>(
      "qwen2", {"qwen2", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"}, "{}", {"rotary_emb.inv_freq", "visual."});
  return &architecture;
}

}  // namespace nibble
