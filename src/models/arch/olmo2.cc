// SPDX-License-Identifier: Apache-2.0
// OLMo 2: norms after attention and MLP, none before; norms of all q heads and all k heads as one row.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> Olmo2Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  AddOlmoNorms(&o);
  return o;
}

}  // namespace

const Architecture* olmo2_architecture() {
  static const Architecture architecture = MakeDecoder<Olmo2Options>("olmo2", {"olmo2"}, R"({"rms_norm_eps": 1e-5})");
  return &architecture;
}

}  // namespace nibble
