// SPDX-License-Identifier: Apache-2.0
// OLMo: Llama with layer norms that have no parameters, and q, k, v clamped.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> OlmoOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_TRY_IN(c.where, const double clip, JsonNumber(c.json, "clip_qkv", 0.0));
  o.norm = {.eps = 1e-5f, .rms = false, .has_weight = false};
  o.clip_qkv = static_cast<float>(clip);
  return o;
}

}  // namespace

const Architecture* olmo_architecture() {
  static const Architecture architecture = MakeDecoder<OlmoOptions>("olmo", {"olmo"});
  return &architecture;
}

}  // namespace nibble
