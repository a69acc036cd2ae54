// SPDX-License-Identifier: Apache-2.0
// VaultGemma: Gemma 2 without the norms after attention and MLP.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> VaultgemmaOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [](int64_t layer) { return layer % 2 == 0; }));
  NIBBLE_RETURN_IF_ERROR(AddGemmaBlocks(c, &o));
  o.names.attn_out = o.names.mlp_out = "";
  return o;
}

}  // namespace

const Architecture* vaultgemma_architecture() {
  static const Architecture architecture = MakeDecoder<VaultgemmaOptions>(
      "vaultgemma", {"vaultgemma"},
      R"({"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "num_key_value_heads": 4, "sliding_window": 4096,
          "tie_word_embeddings": true, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0})");
  return &architecture;
}

}  // namespace nibble
