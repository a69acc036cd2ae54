// SPDX-License-Identifier: Apache-2.0
// Granite 3: Llama with multipliers of embeddings, residuals, scores and logits.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> GraniteOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_RETURN_IF_ERROR(AddGraniteMultipliers(c, &o));
  return o;
}

}  // namespace

const Architecture* granite_architecture() {
  static const Architecture architecture = MakeDecoder<GraniteOptions>("granite", {"granite"}, R"({"tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
