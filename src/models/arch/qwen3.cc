// SPDX-License-Identifier: Apache-2.0
// Qwen 3, and the text of its VL models: RMS norm of every q and k head; heads of 128 where the config does not say.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Qwen3Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const bool use_window, JsonBool(c.json, "use_sliding_window", false));
  NIBBLE_TRY_IN(c.where, const int64_t first, JsonInt(c.json, "max_window_layers", 28));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [=](int64_t layer) { return use_window && layer >= first; }));
  o.qk_norm = DecoderOptions::kHead;
  return o;
}

}  // namespace

const Architecture* qwen3_architecture() {
  static const Architecture architecture =
      MakeDecoder<Qwen3Options>("qwen3", {"qwen3", "qwen3_vl", "qwen3_vl_text"}, R"({"head_dim": 128})");
  return &architecture;
}

}  // namespace nibble
