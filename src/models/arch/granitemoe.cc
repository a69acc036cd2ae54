// SPDX-License-Identifier: Apache-2.0
// Granite 3 MoE: Granite with experts in every layer, softmax over the chosen; all experts in one tensor.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> GranitemoeOptions(const ModelConfig& c) { return GraniteMoeOptions(c); }

}  // namespace

const Architecture* granitemoe_architecture() {
  static const Architecture architecture = MakeDecoder<GranitemoeOptions>(
      "granitemoe", {"granitemoe"}, R"({"tie_word_embeddings": true, "num_experts": 8, "num_experts_per_tok": 2})");
  return &architecture;
}

}  // namespace nibble
