// SPDX-License-Identifier: Apache-2.0
// GPT-J: attention and an ungated MLP side by side on one layer norm; the first rotary_dim elements of each head rotated in pairs.
#include "models/blocks.h"

namespace nibble {

const Architecture* gptj_architecture() {
  static const Architecture architecture =
      MakeDecoder<GptjOptions>("gptj", {"gptj"}, R"({"hidden_act": "gelu_new", "rms_norm_eps": 1e-5})",
                               {"attn.bias", "attn.masked_bias", "rotary_emb.inv_freq", "attn.embed_positions"});
  return &architecture;
}

}  // namespace nibble
