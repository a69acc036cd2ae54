// SPDX-License-Identifier: Apache-2.0
#include "models/hybrid.h"

namespace nibble {

Result<std::vector<bool>> LayersOfKind(const ModelConfig& c, std::string_view kind, const std::function<bool(int64_t)>& otherwise) {
  std::vector<bool> layers;
  const Json* types = JsonFind(c.json, "layer_types");
  if (types && (!types->is_array() || static_cast<int64_t>(types->size()) < c.layers))
    return Corrupt("{}: layer_types must list a name for each of the {} layers", c.where, c.layers);
  for (int64_t i = 0; i < c.layers; ++i) {
    if (!types) {
      layers.push_back(otherwise(i));
      continue;
    }
    const Json& type = (*types)[static_cast<size_t>(i)];
    if (type != kind && type != "full_attention")
      return Unsupported("{}: layer_types[{}] is {} (known here: full_attention, {})", c.where, i, type.dump(), kind);
    layers.push_back(type == kind);
  }
  return layers;
}

Result<DecoderOptions> HybridOptions(const ModelConfig& config, const RopeDefaults& rope) {
  ModelConfig attention = config;
  attention.json.erase("layer_types");
  return UsualOptions(attention, rope);
}

namespace {

Result<GraphBuilder::DeltaNet> DeltaNetOf(const ModelConfig& c, bool by_key_head) {
  GraphBuilder::DeltaNet net{.by_key_head = by_key_head, .eps = c.norm_eps};
  NIBBLE_TRY_IN(c.where, net.k_heads, JsonInt(c.json, "linear_num_key_heads", 16));
  NIBBLE_TRY_IN(c.where, net.v_heads, JsonInt(c.json, "linear_num_value_heads", 32));
  NIBBLE_TRY_IN(c.where, net.k_dim, JsonInt(c.json, "linear_key_head_dim", 128));
  NIBBLE_TRY_IN(c.where, net.v_dim, JsonInt(c.json, "linear_value_head_dim", 128));
  NIBBLE_TRY_IN(c.where, net.kernel, JsonInt(c.json, "linear_conv_kernel_dim", 4));
  constexpr int64_t kMost = int64_t{1} << 16;  // keeps products of three of them inside 64 bits
  for (const int64_t size : {net.k_heads, net.v_heads, net.k_dim, net.v_dim, net.kernel})
    if (size < 1 || size > kMost) return Corrupt("{}: a size of linear attention is {}, wanted 1..{}", c.where, size, kMost);
  if (net.v_heads % net.k_heads != 0)
    return Corrupt("{}: linear_num_value_heads {} is not a multiple of linear_num_key_heads {}", c.where, net.v_heads, net.k_heads);
  return net;
}

}  // namespace

Result<DecoderOptions> QwenHybridOptions(const ModelConfig& c, bool by_key_head) {
  NIBBLE_TRY_IN(c.where, const int64_t every, JsonInt(c.json, "full_attention_interval", 4));
  NIBBLE_TRY(const std::vector<bool> linear,
             LayersOfKind(c, "linear_attention", [=](int64_t layer) { return every < 1 || (layer + 1) % every != 0; }));
  NIBBLE_TRY(const GraphBuilder::DeltaNet net, DeltaNetOf(c, by_key_head));
  NIBBLE_TRY(DecoderOptions o, HybridOptions(c, {.partial_factor = 0.25}));
  o.norm.offset = o.head_norm.offset = 1;
  o.qk_norm = DecoderOptions::kHead;
  o.gate_in_q = true;
  o.mixer = [=](GraphBuilder& b, BufferId in, int64_t layer, const std::string& prefix) -> Result<BufferId> {
    if (!linear[static_cast<size_t>(layer)]) return -1;
    GraphBuilder::DeltaNet mine = net;
    mine.prefix = prefix + "linear_attn.";
    return b.GatedDeltaNet(in, mine);
  };
  o.mixer_modules = [=](int64_t layer) -> std::vector<std::string> {
    if (!linear[static_cast<size_t>(layer)]) return {};
    if (by_key_head) return {"linear_attn.in_proj_qkvz", "linear_attn.in_proj_ba"};
    return {"linear_attn.in_proj_qkv", "linear_attn.in_proj_z", "linear_attn.in_proj_b", "linear_attn.in_proj_a"};
  };
  return o;
}

Result<MoeBlock> QwenHybridMoe(const ModelConfig& c) {
  MoeBlock moe;
  moe.spec.hidden = c.hidden;
  moe.spec.gate = {c.act};
  moe.shared = "shared_expert";
  moe.shared_gate = "shared_expert_gate";
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  NIBBLE_TRY_IN(c.where, moe.spec.inter, JsonInt(c.json, "moe_intermediate_size", 512));
  NIBBLE_TRY_IN(c.where, moe.shared_inter, JsonInt(c.json, "shared_expert_intermediate_size", 512));
  NIBBLE_TRY_IN(c.where, moe.spec.renormalize, JsonBool(c.json, "norm_topk_prob", true));
  if (moe.spec.inter < 1 || moe.shared_inter < 1) return Corrupt("{}: expert sizes must be positive", c.where);
  NIBBLE_TRY(const std::vector<bool> sparse, SparseLayers(c));
  moe.has = [sparse](int64_t layer) { return sparse[static_cast<size_t>(layer)]; };
  return moe;
}

namespace {

// Which layers convolve where layer_types does not say: those that full_attn_idxs does not name.
std::vector<bool> Unnamed(const ModelConfig& c) {
  const Json* list = JsonFind(c.json, "full_attn_idxs");
  std::vector<bool> conv(static_cast<size_t>(c.layers), list && list->is_array());
  if (list && list->is_array())
    for (const Json& layer : *list)
      if (layer.is_number_integer() && layer.get<int64_t>() >= 0 && layer.get<int64_t>() < c.layers)
        conv[layer.get<size_t>()] = false;
  return conv;
}

}  // namespace

Result<DecoderOptions> Lfm2Options(const ModelConfig& c) {
  const std::vector<bool> unnamed = Unnamed(c);
  NIBBLE_TRY(const std::vector<bool> conv,
             LayersOfKind(c, "conv", [&](int64_t layer) { return unnamed[static_cast<size_t>(layer)]; }));
  NIBBLE_TRY_IN(c.where, const int64_t kernel, JsonInt(c.json, "conv_L_cache", 3));
  NIBBLE_TRY_IN(c.where, const bool bias, JsonBool(c.json, "conv_bias", false));
  if (kernel < 1 || kernel > 1024) return Corrupt("{}: conv_L_cache is {}, wanted 1..1024", c.where, kernel);
  NIBBLE_TRY(DecoderOptions o, HybridOptions(c));
  o.qk_norm = DecoderOptions::kHead;
  o.names.final_norm = "model.embedding_norm";
  o.names.attn_in = "operator_norm";
  o.names.mlp_in = "ffn_norm";
  o.names.o = "out_proj";
  o.names.q_norm = "q_layernorm";
  o.names.k_norm = "k_layernorm";
  o.names.mlp = "feed_forward.";
  o.names.gate = "w1";
  o.names.up = "w3";
  o.names.down = "w2";
  o.mixer = [=, channels = c.hidden](GraphBuilder& b, BufferId in, int64_t layer, const std::string& prefix) -> Result<BufferId> {
    if (!conv[static_cast<size_t>(layer)]) return -1;
    return b.GatedShortConv(in, {.prefix = prefix + "conv.", .channels = channels, .kernel = kernel, .bias = bias});
  };
  o.mixer_modules = [=](int64_t layer) {
    return conv[static_cast<size_t>(layer)] ? std::vector<std::string>{"conv.in_proj"} : std::vector<std::string>{};
  };
  return o;
}

}  // namespace nibble
