// SPDX-License-Identifier: Apache-2.0
// DeepSeek V3.2 and GLM 5: latent attention over the positions that an indexer picks.
#include "models/architecture.h"

namespace nibble {

const Architecture* deepseek_v32_architecture() {
  static const Architecture architecture = {
      .name = "deepseek_v32",
      .model_types = {"deepseek_v32", "glm_moe_dsa"},
      .missing =
          "sparse attention with an indexer (self_attn.indexer, index_topk: each row attends to the positions that a small "
          "scorer picks)"};
  return &architecture;
}

}  // namespace nibble
