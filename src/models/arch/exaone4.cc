// SPDX-License-Identifier: Apache-2.0
// EXAONE 4: norms after attention and MLP, norms of q and k heads; where layers slide, those that see everything are not rotated.
#include "models/decoder.h"

namespace nibble {
namespace {

// sliding_window_pattern: a period whose last layer sees everything, or letters, L for a layer that slides.
Result<std::vector<bool>> SlidingLayers(const ModelConfig& c) {
  const Json* pattern = JsonFind(c.json, "sliding_window_pattern");
  std::vector<bool> slides;
  for (int64_t i = 0; i < c.layers; ++i) {
    if (pattern && pattern->is_string() && !pattern->get<std::string>().empty()) {
      const auto letters = pattern->get<std::string>();
      slides.push_back(i + 1 < c.layers && letters[static_cast<size_t>(i) % letters.size()] == 'L');
    } else {
      const int64_t period = pattern && pattern->is_number_integer() ? pattern->get<int64_t>() : 4;
      slides.push_back(period > 0 && (i + 1) % period != 0);
    }
  }
  return slides;
}

Result<DecoderOptions> Options(const ModelConfig& c) {
  NIBBLE_TRY(const std::vector<bool> slides, SlidingLayers(c));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [=](int64_t layer) { return slides[static_cast<size_t>(layer)]; }));
  o.rope = [rope = o.rope, attention = o.attention, hybrid = JsonFind(c.json, "sliding_window") != nullptr](int64_t layer) {
    GraphBuilder::AttentionOptions a;
    attention(layer, &a);
    return !hybrid || a.window > 0 ? rope(layer) : nullptr;
  };
  o.qk_norm = DecoderOptions::kHead;
  o.names.attn_in = o.names.mlp_in = "";
  o.names.attn_out = "post_attention_layernorm";
  o.names.mlp_out = "post_feedforward_layernorm";
  return o;
}

}  // namespace

const Architecture* exaone4_architecture() {
  static const Architecture architecture = MakeDecoder<Options>("exaone4", {"exaone4"}, R"({"rms_norm_eps": 1e-5})");
  return &architecture;
}

}  // namespace nibble
