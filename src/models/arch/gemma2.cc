// SPDX-License-Identifier: Apache-2.0
// Gemma 2: Gemma with norms before and after attention and MLP, every other layer sliding, soft caps on scores and logits.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> Gemma2Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [](int64_t layer) { return layer % 2 == 0; }));
  NIBBLE_RETURN_IF_ERROR(AddGemmaBlocks(c, &o));
  return o;
}

}  // namespace

const Architecture* gemma2_architecture() {
  static const Architecture architecture = MakeDecoder<Gemma2Options>(
      "gemma2", {"gemma2"},
      R"({"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "sliding_window": 4096, "tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
