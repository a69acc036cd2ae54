// SPDX-License-Identifier: Apache-2.0
// OLMo 3: OLMo 2 with three layers that slide to one that sees everything; rope scaling is for the latter alone.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> Olmo3Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const double theta, JsonNumber(c.json, "rope_theta", 500000.0));
  NIBBLE_TRY(DecoderOptions o,
             UsualOptions(c, {.theta = theta, .layer_type = "full_attention"}, [](int64_t layer) { return (layer + 1) % 4 != 0; }));
  NIBBLE_RETURN_IF_ERROR(AddWindowRope(c, theta, &o));
  AddOlmoNorms(&o);
  return o;
}

}  // namespace

const Architecture* olmo3_architecture() {
  static const Architecture architecture =
      MakeDecoder<Olmo3Options>("olmo3", {"olmo3"}, R"({"rms_norm_eps": 1e-5, "sliding_window": 4096})");
  return &architecture;
}

}  // namespace nibble
