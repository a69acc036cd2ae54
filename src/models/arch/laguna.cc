// SPDX-License-Identifier: Apache-2.0
// Poolside Laguna.
#include "models/architecture.h"

namespace nibble {

const Architecture* laguna_architecture() {
  static const Architecture architecture = {
      .name = "laguna",
      .model_types = {"laguna"},
      .missing = "attention behind softplus gates (self_attn.g_proj, gating) with a number of heads of its own in each layer "
                 "(num_attention_heads_per_layer)"};
  return &architecture;
}

}  // namespace nibble
