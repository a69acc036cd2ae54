// SPDX-License-Identifier: Apache-2.0
// MiMo V2 Flash: values narrower than keys and scaled, sinks on the sliding layers, which have a rope and a number of k, v heads of
// their own; the experts of DeepSeek V3.
#include "models/decoder.h"

namespace nibble {
namespace {

// hybrid_layer_pattern: 1 for a layer that slides, where there are no layer_types.
Result<std::vector<bool>> MimoSlidingLayers(const ModelConfig& c) {
  const Json* pattern = JsonFind(c.json, "hybrid_layer_pattern");
  std::vector<bool> slides;
  for (int64_t i = 0; i < c.layers; ++i)
    slides.push_back(pattern && pattern->is_array() && i < static_cast<int64_t>(pattern->size()) &&
                     (*pattern)[static_cast<size_t>(i)] == 1);
  return slides;
}

Result<DecoderOptions> MimoV2FlashOptions(const ModelConfig& c) {
  NIBBLE_TRY(const std::vector<bool> slides, MimoSlidingLayers(c));
  NIBBLE_TRY(DecoderOptions o,
             UsualOptions(c, {.layer_type = "full_attention"}, [=](int64_t i) { return slides[static_cast<size_t>(i)]; }));
  NIBBLE_TRY_IN(c.where, const double near_theta, JsonNumber(c.json, "swa_rope_theta", 10000.0));
  NIBBLE_TRY_IN(c.where, const double value_scale, JsonNumber(c.json, "attention_value_scale", 1.0));
  NIBBLE_TRY_IN(c.where, const int64_t v_dim, JsonInt(c.json, "v_head_dim", c.head_dim));
  NIBBLE_TRY_IN(c.where, const int64_t near_kv, JsonInt(c.json, "swa_num_key_value_heads", 0));
  ModelConfig near = c;
  const Json* nested = JsonFind(c.json, "rope_parameters");
  if (!nested || !JsonFind(*nested, "sliding_attention")) near.json["rope_theta"] = near_theta;
  NIBBLE_TRY(RopeSpec near_rope, RopeFromConfig(near, c.head_dim, {.theta = near_theta, .layer_type = "sliding_attention"}));
  std::vector<bool> windowed;
  for (int64_t i = 0; i < c.layers; ++i) {
    GraphBuilder::AttentionOptions a;
    o.attention(i, &a);
    windowed.push_back(a.window > 0);
  }
  o.rope = [far = o.rope, close = OneRope(std::move(near_rope)), windowed](int64_t layer) {
    return windowed[static_cast<size_t>(layer)] ? close(layer) : far(layer);
  };
  o.heads = [=, full = GraphBuilder::Heads{.q = c.heads, .kv = c.kv_heads, .dim = c.head_dim, .v_dim = v_dim}](int64_t layer) {
    GraphBuilder::Heads heads = full;
    if (windowed[static_cast<size_t>(layer)]) heads.kv = near_kv > 0 ? near_kv : 2 * full.kv;
    return heads;
  };
  o.attention = [windows = o.attention, windowed](int64_t layer, GraphBuilder::AttentionOptions* a) {
    windows(layer, a);
    if (windowed[static_cast<size_t>(layer)]) a->sinks = fmt::format("model.layers.{}.self_attn.attention_sink_bias", layer);
  };
  o.value_scale = static_cast<float>(value_scale);
  NIBBLE_TRY(const MoeBlock moe, DeepseekMoe(c));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* mimo_v2_flash_architecture() {
  static const Architecture architecture = MakeDecoder<MimoV2FlashOptions>(
      "mimo_v2_flash", {"mimo_v2_flash"}, R"({"rms_norm_eps": 1e-5, "rope_theta": 5000000, "partial_rotary_factor": 0.334})");
  return &architecture;
}

}  // namespace nibble
