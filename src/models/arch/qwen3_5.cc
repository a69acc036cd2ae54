// SPDX-License-Identifier: Apache-2.0
// Qwen3.5, text: three layers of the gated delta rule to one of gated attention, dense MLPs. Positions of text are the same in all
// three of mrope's sections, which makes it plain rope.
#include "models/hybrid.h"

namespace nibble {
namespace {

Result<DecoderOptions> Qwen35Options(const ModelConfig& c) { return QwenHybridOptions(c, false); }

}  // namespace

const Architecture* qwen3_5_architecture() {
  // The "mtp." layers guess tokens ahead; nothing here runs them.
  static const Architecture architecture =
      MakeDecoder<Qwen35Options>("qwen3_5", {"qwen3_5_text", "qwen3_5"}, R"({"head_dim": 256})", {"rotary_emb.inv_freq", "mtp."});
  return &architecture;
}

}  // namespace nibble
