// SPDX-License-Identifier: Apache-2.0
// BitNet b1.58: Llama with squared ReLU as the gate and norms before the last product of attention and of the MLP.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> BitnetOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  o.names.before_o = "attn_sub_norm";
  o.names.before_down = "ffn_sub_norm";
  return o;
}

}  // namespace

const Architecture* bitnet_architecture() {
  static const Architecture architecture =
      MakeDecoder<BitnetOptions>("bitnet", {"bitnet"}, R"({"hidden_act": "relu2", "rms_norm_eps": 1e-5, "rope_theta": 500000})");
  return &architecture;
}

}  // namespace nibble
