// SPDX-License-Identifier: Apache-2.0
// Arcee AFM: Llama with an ungated MLP of squared ReLU.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> ArceeOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  o.gated = false;
  return o;
}

}  // namespace

const Architecture* arcee_architecture() {
  static const Architecture architecture =
      MakeDecoder<ArceeOptions>("arcee", {"arcee"}, R"({"hidden_act": "relu2", "rms_norm_eps": 1e-5})");
  return &architecture;
}

}  // namespace nibble
