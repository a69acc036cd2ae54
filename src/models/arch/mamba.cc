// SPDX-License-Identifier: Apache-2.0
// Families with layers of selective state spaces.
#include "models/architecture.h"

namespace nibble {

const Architecture* mamba_architecture() {
  static const Architecture architecture = {
      .name = "mamba",
      .model_types = {"mamba", "mamba2", "falcon_mamba", "nemotron_h", "falcon_h1", "bamba", "jamba", "zamba", "zamba2"},
      .missing = "Mamba layers (selective state spaces: ssm_state_size, mamba_d_state)"};
  return &architecture;
}

}  // namespace nibble
