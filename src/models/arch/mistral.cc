// SPDX-License-Identifier: Apache-2.0
// Mistral 7B and Nemo: Llama whose every layer may see only the last sliding_window positions.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<Graph> Build(const ModelConfig& config, int rank, int ranks) {
  return BuildLlamaLike(config, {.tied = config.tied, .slides = [](int64_t) { return true; }}, rank, ranks);
}

}  // namespace

const Architecture* mistral_architecture() {
  static const Architecture architecture = {"mistral", {"mistral"}, Build, LlamaLikeFoldPoints, {"rotary_emb.inv_freq"}};
  return &architecture;
}

}  // namespace nibble
