// SPDX-License-Identifier: Apache-2.0
// Nemotron 4 and Minitron: layer norms by 1 + w with bias, squared ReLU without a gate, half of each head rotated.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> NemotronOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = 0.5}));
  o.norm.rms = false;
  o.norm.bias = true;
  o.norm.offset = 1;
  o.gated = false;
  return o;
}

}  // namespace

const Architecture* nemotron_architecture() {
  static const Architecture architecture =
      MakeDecoder<NemotronOptions>("nemotron", {"nemotron"}, R"({"hidden_act": "relu2", "rms_norm_eps": 1e-5})");
  return &architecture;
}

}  // namespace nibble
