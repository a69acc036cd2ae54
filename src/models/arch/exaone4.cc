// SPDX-License-Identifier: Apache-2.0
// EXAONE 4: norms after attention and MLP, norms of q and k heads; where layers slide, those that see everything are not rotated.
#include "models/blocks.h"

namespace nibble {

const Architecture* exaone4_architecture() {
  static const Architecture architecture = MakeDecoder<Exaone4Options>("exaone4", {"exaone4"}, R"({"rms_norm_eps": 1e-5})");
  return &architecture;
}

}  // namespace nibble
