// SPDX-License-Identifier: Apache-2.0
// CWM: Llama in which every fourth layer, from the first on, sees everything and the others slide.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> CwmOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.theta = 1e6}, [](int64_t layer) { return layer % 4 != 0; }));
  o.qkv_bias = o.o_bias = false;
  return o;
}

}  // namespace

const Architecture* cwm_architecture() {
  static const Architecture architecture = MakeDecoder<CwmOptions>(
      "cwm", {"cwm"}, R"({"rms_norm_eps": 1e-5, "head_dim": 128, "num_key_value_heads": 8, "sliding_window": 8192})");
  return &architecture;
}

}  // namespace nibble
