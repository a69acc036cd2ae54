// SPDX-License-Identifier: Apache-2.0
// Ministral 8B (2410): Mistral whose layer_types may mix layers that slide with layers that see everything.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> MinistralOptions(const ModelConfig& c) {
  return UsualOptions(c, {}, [](int64_t) { return true; });
}

}  // namespace

const Architecture* ministral_architecture() {
  static const Architecture architecture = MakeDecoder<MinistralOptions>("ministral", {"ministral"});
  return &architecture;
}

}  // namespace nibble
