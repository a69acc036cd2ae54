// SPDX-License-Identifier: Apache-2.0
// Granite MoE with an MLP that every row goes through beside the experts.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> GranitemoesharedOptions(const ModelConfig& c) { return GraniteMoeOptions(c); }

}  // namespace

const Architecture* granitemoeshared_architecture() {
  static const Architecture architecture = MakeDecoder<GranitemoesharedOptions>("granitemoeshared", {"granitemoeshared"},
                                                                                R"({"num_experts": 8, "num_experts_per_tok": 2})");
  return &architecture;
}

}  // namespace nibble
