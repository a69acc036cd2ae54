// SPDX-License-Identifier: Apache-2.0
// GLM 4 9B: Llama with half of each head rotated in pairs, biases on q, k and v, gate and up in one module.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> GlmOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = 0.5, .interleaved = true}));
  o.o_bias = false;
  return o;
}

}  // namespace

const Architecture* glm_architecture() {
  static const Architecture architecture =
      MakeDecoder<GlmOptions>("glm", {"glm"}, R"({"rms_norm_eps": 1.5625e-7, "head_dim": 128})");
  return &architecture;
}

}  // namespace nibble
