// SPDX-License-Identifier: Apache-2.0
// Gemma 4 (text). The keys of heads and of the rope are those of layers that see everything, "_swa" those of layers with a window.
#include <fmt/format.h>

#include <algorithm>

#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

struct Heads {
  int64_t kv = 0, dim = 0;
};

// Of each layer.
Result<std::vector<Heads>> HeadsOfLayers(const GgufReader& reader, const Json& types) {
  NIBBLE_TRY(const int64_t all, reader.Positive("attention.head_count"));
  NIBBLE_TRY(const std::vector<int64_t> kv, reader.ByLayer("attention.head_count_kv", all));
  NIBBLE_TRY(const int64_t hidden, reader.Positive("embedding_length"));
  NIBBLE_TRY(const int64_t wide, reader.Positive("attention.key_length", std::max<int64_t>(hidden / all, 1)));
  NIBBLE_TRY(const int64_t narrow, reader.Positive("attention.key_length_swa", wide));
  std::vector<Heads> heads;
  for (size_t i = 0; i < kv.size(); ++i) heads.push_back({kv[i], types[i] == "full_attention" ? wide : narrow});
  return heads;
}

Result<std::array<int64_t, 3>> Gemma4QkvRows(const GgufReader& reader, int64_t layer) {
  NIBBLE_TRY(const Json types, reader.LayerTypes(6));
  NIBBLE_TRY(const std::vector<Heads> heads, HeadsOfLayers(reader, types));
  NIBBLE_TRY(const int64_t q, reader.Positive("attention.head_count"));
  if (layer >= static_cast<int64_t>(heads.size()))
    return Corrupt("{}: tensors of layer {}, the model has {} layers", reader.path(), layer, heads.size());
  const auto& [kv, dim] = heads[static_cast<size_t>(layer)];
  return std::array<int64_t, 3>{q * dim, kv * dim, kv * dim};
}

// The hub's config says what layers with a window have, and where the others differ: once for all of them (the keys with "global",
// which older readers know), and layer by layer.
Status ReadGemma4Heads(const GgufReader& reader, Json* config) {
  const Json& types = (*config)["layer_types"];
  NIBBLE_TRY(const std::vector<Heads> heads, HeadsOfLayers(reader, types));
  const auto slides = std::find(types.begin(), types.end(), "sliding_attention");
  const size_t usual = slides == types.end() ? 0 : static_cast<size_t>(slides - types.begin());
  (*config)["head_dim"] = heads[usual].dim;
  (*config)["num_key_value_heads"] = heads[usual].kv;
  Json others = Json::object();
  for (size_t i = 0; i < heads.size(); ++i) {
    const std::string layer = std::to_string(i);
    if (types[i] == "full_attention") {
      (*config)["global_head_dim"] = heads[i].dim;
      (*config)["num_global_key_value_heads"] = heads[i].kv;
      // Keys are the values where only keys are stored.
      if (reader.HasTensor(fmt::format("blk.{}.attn_k.weight", i)) && !reader.HasTensor(fmt::format("blk.{}.attn_v.weight", i)))
        (*config)["attention_k_eq_v"] = true;
    }
    if (heads[i].dim != heads[usual].dim) others[layer]["head_dim"] = heads[i].dim;
    if (heads[i].kv != heads[usual].kv) others[layer]["num_key_value_heads"] = heads[i].kv;
  }
  (*config)["per_layer_config"] = std::move(others);
  return {};
}

Status ReadGemma4(const GgufReader& reader, Json* config) {
  NIBBLE_TRY((*config)["layer_types"], reader.LayerTypes(6));
  NIBBLE_RETURN_IF_ERROR(ReadGemma4Heads(reader, config));
  NIBBLE_RETURN_IF_ERROR(RopeOfWindows(reader, (*config)["head_dim"].get<int64_t>(), 10000, config));
  const StoredTensor* by_layer = reader.file().tensors.Find("per_layer_token_embd.weight");
  if (by_layer && by_layer->shape.rank() == 2) (*config)["vocab_size_per_layer_input"] = by_layer->shape[0];
  NIBBLE_TRY(const std::vector<int64_t> inter, reader.ByLayer("feed_forward_length", 1));
  (*config)["use_double_wide_mlp"] = inter.back() == 2 * inter.front();
  return {};
}

Status WriteGemma4(const Json& config, Json* keys) {
  NIBBLE_TRY(const int64_t vocab, JsonInt(config, "vocab_size"));
  NIBBLE_TRY(const int64_t width, JsonInt(config, "hidden_size_per_layer_input", 256));
  NIBBLE_TRY(const int64_t rows, JsonInt(config, "vocab_size_per_layer_input", vocab));
  if (width > 0 && rows != vocab)
    return Unsupported("vocab_size_per_layer_input {} is not vocab_size {}; GGUF's gemma4 has no key for it", rows, vocab);
  (*keys)["embedding_length_per_layer_input"] = width;
  NIBBLE_TRY(const bool wide, JsonBool(config, "use_double_wide_mlp", false));
  NIBBLE_TRY(const int64_t sharing, JsonInt(config, "num_kv_shared_layers", 0));
  if (!wide) return {};
  const auto layers = (*keys)["block_count"].get<int64_t>(), inter = (*keys)["feed_forward_length"].get<int64_t>();
  Json by_layer = Json::array();
  for (int64_t i = 0; i < layers; ++i) by_layer.push_back(i < layers - sharing ? inter : 2 * inter);
  (*keys)["feed_forward_length"] = std::move(by_layer);
  return {};
}

}  // namespace

std::span<const GgufArchitecture> gemma4_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "gemma4",
       .model_type = "gemma4_text",
       .hub_class = "Gemma4ForCausalLM",
       .kv_by_layer = true,
       .inter_by_layer = true,
       .globals = {{"per_layer_token_embd", "model.embed_tokens_per_layer"},
                   {"per_layer_model_proj", "model.per_layer_model_projection"},
                   {"per_layer_proj_norm", "model.per_layer_projection_norm"}},
       .names = {{"post_attention_norm", "post_attention_layernorm"},
                 {"ffn_norm", "pre_feedforward_layernorm"},
                 {"post_ffw_norm", "post_feedforward_layernorm"},
                 {"pre_ffw_norm_2", "pre_feedforward_layernorm_2"},
                 {"post_ffw_norm_1", "post_feedforward_layernorm_1"},
                 {"post_ffw_norm_2", "post_feedforward_layernorm_2"},
                 {"ffn_gate_inp", "router.proj"},
                 {"ffn_gate_inp.scale", "router.scale"},
                 {"ffn_gate_up_exps", "experts.*.gate_proj|experts.*.up_proj"},
                 {"ffn_gate_exps", "experts.*.gate_proj"},
                 {"ffn_up_exps", "experts.*.up_proj"},
                 {"ffn_down_exps", "experts.*.down_proj"},
                 // Multiplies what an expert gives, its weight among the chosen, and NVFP4's scale of its matrix: all the same.
                 {"ffn_down_exps.scale", "router.per_expert_scale"},
                 {"inp_gate", "per_layer_input_gate"},
                 {"proj", "per_layer_projection"},
                 {"post_norm", "post_per_layer_input_norm"},
                 {"layer_output_scale.weight", "layer_scalar"}},
       .keys = {{"expert_used_count", "top_k_experts"},
                {"attention.shared_kv_layers", "num_kv_shared_layers"},
                {"embedding_length_per_layer_input", "hidden_size_per_layer_input"},
                {"final_logit_softcapping", "final_logit_softcapping", GgufKey::kNumber},
                {"ffn_gate_inp.weight", "enable_moe_block", GgufKey::kHasTensor}},
       .config = R"({"hidden_act": "gelu_pytorch_tanh", "hidden_size_per_layer_input": 0})",
       .qkv_rows = Gemma4QkvRows,
       .read = ReadGemma4,
       .write = WriteGemma4},
  };
  return rows;
}

}  // namespace nibble
