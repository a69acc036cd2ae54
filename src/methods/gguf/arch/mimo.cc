// SPDX-License-Identifier: Apache-2.0
// MiMo-V2: layers with a window have kv heads, a rope and sinks of their own.
#include <fmt/format.h>

#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

Status MimoLayers(const GgufReader& reader, Json* config) {
  NIBBLE_RETURN_IF_ERROR(WithoutPrediction(reader, config));
  const auto layers = (*config)["num_hidden_layers"].get<size_t>();
  NIBBLE_TRY(const std::vector<int64_t> slides, reader.Ints("attention.sliding_window_pattern"));
  NIBBLE_TRY(const std::vector<int64_t> kv, reader.Ints("attention.head_count_kv"));
  if (slides.size() < layers || kv.size() < layers)
    return Corrupt("{}: keys \"{}\" and \"{}\" have {} and {} elements, wanted one for each of {} layers", reader.path(),
                   reader.Key("attention.sliding_window_pattern"), reader.Key("attention.head_count_kv"), slides.size(), kv.size(),
                   layers);
  Json pattern = Json::array(), experts = Json::array();
  for (size_t i = 0; i < layers; ++i) {
    (*config)[slides[i] ? "swa_num_key_value_heads" : "num_key_value_heads"] = kv[i];
    pattern.push_back(slides[i] ? 1 : 0);
    experts.push_back(reader.HasTensor(fmt::format("blk.{}.ffn_gate_inp.weight", i)) ? 1 : 0);
  }
  for (size_t i = 0; i < layers; ++i)
    if ((*config)[slides[i] ? "swa_num_key_value_heads" : "num_key_value_heads"] != kv[i])
      return Unsupported("{}: key \"{}\": layer {} has {} kv heads and others of its kind another number", reader.path(),
                         reader.Key("attention.head_count_kv"), i, kv[i]);
  (*config)["hybrid_layer_pattern"] = std::move(pattern);
  (*config)["moe_layer_freq"] = std::move(experts);
  const Json far = (*config)["rope_parameters"];
  Json near = far;
  NIBBLE_TRY(near["rope_theta"], reader.Number("rope.freq_base_swa", far["rope_theta"].get<double>()));
  (*config)["rope_parameters"] = {{"full_attention", far}, {"sliding_attention", near}};
  return {};
}

}  // namespace

std::span<const GgufArchitecture> mimo_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "mimo2",
       .model_type = "mimo_v2_flash",
       .hub_class = "MiMoV2FlashForCausalLM",
       .kv_by_layer = true,
       .names = {{"attn_sinks.weight", "self_attn.attention_sink_bias"}},
       .keys = {{"attention.value_scale", "attention_value_scale", GgufKey::kNumber}},
       .config = R"({"norm_topk_prob": true})",
       .constants = {{"expert_gating_func", 2}},
       .read = MimoLayers},
  };
  return rows;
}

}  // namespace nibble
