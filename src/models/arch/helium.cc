// SPDX-License-Identifier: Apache-2.0
// Helium: Llama rotated in pairs, with no bias on the output of attention.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> HeliumOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.interleaved = true}));
  o.o_bias = false;
  return o;
}

}  // namespace

const Architecture* helium_architecture() {
  static const Architecture architecture =
      MakeDecoder<HeliumOptions>("helium", {"helium"}, R"({"rms_norm_eps": 1e-8, "head_dim": 128})");
  return &architecture;
}

}  // namespace nibble
