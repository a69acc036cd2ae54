// SPDX-License-Identifier: Apache-2.0
// Jais 2: Llama with layer norms, biases and an ungated MLP of squared ReLU.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Jais2Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  o.norm.rms = false;
  o.norm.bias = true;
  o.gated = false;
  return o;
}

}  // namespace

const Architecture* jais2_architecture() {
  static const Architecture architecture = MakeDecoder<Jais2Options>(
      "jais2", {"jais2"}, R"({"hidden_act": "relu2", "rms_norm_eps": 1e-5, "attention_bias": true, "mlp_bias": true})");
  return &architecture;
}

}  // namespace nibble
