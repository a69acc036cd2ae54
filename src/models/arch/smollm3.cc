// SPDX-License-Identifier: Apache-2.0
// SmolLM 3: Llama that leaves every fourth layer unrotated.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Smollm3Options(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t interval, JsonInt(c.json, "no_rope_layer_interval", 4));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_TRY(RopeSpec rope, RopeFromConfig(c, c.head_dim));
  const Json* listed = JsonFind(c.json, "no_rope_layers");
  std::vector<bool> rotated;
  for (int64_t i = 0; i < c.layers; ++i) {
    const bool in_list = listed && listed->is_array() && i < static_cast<int64_t>(listed->size());
    rotated.push_back(in_list ? (*listed)[static_cast<size_t>(i)] != 0 : interval <= 0 || (i + 1) % interval != 0);
  }
  o.rope = RopeWhere(std::move(rope), [rotated](int64_t layer) { return rotated[static_cast<size_t>(layer)]; });
  return o;
}

}  // namespace

const Architecture* smollm3_architecture() {
  static const Architecture architecture =
      MakeDecoder<Smollm3Options>("smollm3", {"smollm3"}, R"({"rope_theta": 2000000, "tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
