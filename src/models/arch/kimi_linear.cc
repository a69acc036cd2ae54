// SPDX-License-Identifier: Apache-2.0
// Kimi Linear and K3.
#include "models/architecture.h"

namespace nibble {

const Architecture* kimi_linear_architecture() {
  static const Architecture architecture = {
      .name = "kimi_linear",
      .model_types = {"kimi_linear", "kimi_k3"},
      .missing = "Kimi delta attention (linear_attn_config: a decay for each channel of a key), latent attention without positions "
                 "(mla_use_nope) and, in K3, residuals of attention across layers (attn_res_block_size), experts in a latent "
                 "(routed_expert_hidden_size) and the situ activation"};
  return &architecture;
}

}  // namespace nibble
