// SPDX-License-Identifier: Apache-2.0
// Mistral: Llama whose layers all slide where sliding_window is set.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> MistralOptions(const ModelConfig& c) {
  return UsualOptions(c, {}, [](int64_t) { return true; });
}

}  // namespace

const Architecture* mistral_architecture() {
  static const Architecture architecture = MakeDecoder<MistralOptions>("mistral", {"mistral"});
  return &architecture;
}

}  // namespace nibble
