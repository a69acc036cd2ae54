// SPDX-License-Identifier: Apache-2.0
// Step 3.5 and 3.7 Flash.
#include "models/architecture.h"

namespace nibble {

const Architecture* step3p7_architecture() {
  static const Architecture architecture = {
      .name = "step3p7",
      .model_types = {"step3p7", "step3p7_text", "step3p5"},
      .missing = "gates of attention by head (self_attn.g_proj), rope by layer (rope_theta and partial_rotary_factors as lists) and "
                 "clamps of the MLP by layer (swiglu_limits)"};
  return &architecture;
}

}  // namespace nibble
