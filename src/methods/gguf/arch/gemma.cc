// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

constexpr auto kPlusOne = GgufName::kPlusOne;
constexpr std::string_view kGelu = R"({"hidden_act": "gelu_pytorch_tanh"})";

std::vector<GgufName> SandwichNorms() {
  return {{"attn_norm", "input_layernorm", kPlusOne},          {"post_attention_norm", "post_attention_layernorm", kPlusOne},
          {"ffn_norm", "pre_feedforward_layernorm", kPlusOne}, {"post_ffw_norm", "post_feedforward_layernorm", kPlusOne},
          {"attn_q_norm", "self_attn.q_norm", kPlusOne},       {"attn_k_norm", "self_attn.k_norm", kPlusOne}};
}

// llama.cpp knows the divisor of the scores by the size of the model: that of the heads, but hidden / heads for the 27B models.
Status ScoreScale(const GgufReader& reader, int64_t layers_of_27b, Json* config) {
  NIBBLE_TRY(const int64_t layers, reader.Positive("block_count"));
  const int64_t hidden = (*config)["hidden_size"].get<int64_t>(), heads = (*config)["num_attention_heads"].get<int64_t>();
  (*config)["query_pre_attn_scalar"] = layers == layers_of_27b ? hidden / heads : (*config)["head_dim"].get<int64_t>();
  return {};
}

Status Gemma2(const GgufReader& reader, Json* config) { return ScoreScale(reader, 46, config); }

// Layers with a window turn by a base of their own.
Status Gemma3(const GgufReader& reader, Json* config) {
  NIBBLE_RETURN_IF_ERROR(ScoreScale(reader, 62, config));
  if (!config->contains("sliding_window")) {
    (*config)["sliding_window_pattern"] = 1;
    return {};
  }
  NIBBLE_TRY((*config)["layer_types"], reader.LayerTypes(6));
  return RopeOfWindows(reader, (*config)["head_dim"].get<int64_t>(), 10000, config);
}

}  // namespace

std::span<const GgufArchitecture> gemma_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "gemma",
       .model_type = "gemma",
       .hub_class = "GemmaForCausalLM",
       .globals = {{"output_norm", "model.norm", kPlusOne}},
       .names = {{"attn_norm", "input_layernorm", kPlusOne}, {"ffn_norm", "post_attention_layernorm", kPlusOne}},
       .config = kGelu},
      {.name = "gemma2",
       .model_type = "gemma2",
       .hub_class = "Gemma2ForCausalLM",
       .globals = {{"output_norm", "model.norm", kPlusOne}},
       .names = SandwichNorms(),
       .keys = {{"attn_logit_softcapping", "attn_logit_softcapping", GgufKey::kNumber},
                {"final_logit_softcapping", "final_logit_softcapping", GgufKey::kNumber}},
       .config = kGelu,
       .read = Gemma2},
      {.name = "gemma3",
       .model_type = "gemma3_text",
       .hub_class = "Gemma3ForCausalLM",
       .globals = {{"output_norm", "model.norm", kPlusOne}},
       .names = SandwichNorms(),
       .keys = {{"final_logit_softcapping", "final_logit_softcapping", GgufKey::kNumber}},
       .config = kGelu,
       .read = Gemma3},
  };
  return rows;
}

}  // namespace nibble
