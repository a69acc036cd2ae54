// SPDX-License-Identifier: Apache-2.0
// Gemma 4 (text): sliding layers with narrow heads and layers that see everything with wide ones, a rope for each kind; norms of q,
// k and v heads, scores not scaled; the last layers read the keys and values of earlier ones; in some sizes each layer has an
// embedding of its own, gated by x, or experts beside the MLP.
#include <algorithm>
#include <cmath>
#include <memory>

#include "models/decoder.h"

namespace nibble {
namespace {

struct Layers {
  std::vector<bool> slides;
  std::vector<GraphBuilder::Heads> heads;
  std::vector<int> shared;  // the layer whose keys and values it reads, or -1
  int64_t own = 0;          // layers before the first that reads another's
  bool values_are_keys = false;
};

// Every sixth layer sees everything where there is no list, and the last always.
Result<std::vector<bool>> Gemma4SlidingLayers(const ModelConfig& c) {
  std::vector<bool> slides;
  for (int64_t i = 0; i < c.layers; ++i) {
    NIBBLE_TRY(const int64_t window, LayerWindow(c, i, (i + 1) % 6 != 0));
    slides.push_back(window > 0 && i + 1 < c.layers);
  }
  return slides;
}

// The kinds differ in heads by global_head_dim and num_global_key_value_heads, or layer by layer in per_layer_config.
Result<GraphBuilder::Heads> HeadsOf(const ModelConfig& c, int64_t layer, bool slides, bool values_are_keys) {
  GraphBuilder::Heads heads{.q = c.heads, .kv = c.kv_heads, .dim = c.head_dim};
  if (const Json* each = JsonFind(c.json, "per_layer_config")) {
    if (const Json* own = JsonFind(*each, std::to_string(layer))) {
      NIBBLE_TRY(heads.dim, JsonInt(*own, "head_dim", heads.dim));
      NIBBLE_TRY(heads.kv, JsonInt(*own, "num_key_value_heads", heads.kv));
    }
  } else if (!slides) {
    NIBBLE_TRY(heads.dim, JsonInt(c.json, "global_head_dim", 512));
    if (values_are_keys) {
      NIBBLE_TRY(heads.kv, JsonInt(c.json, "num_global_key_value_heads", heads.kv));
    }
  }
  if (heads.dim < 2 || heads.dim % 2 != 0 || heads.dim > (1 << 20) || heads.kv < 1 || heads.q % heads.kv != 0)
    return Corrupt("layer {}: {} heads of {} for {} of keys and values; wanted an even size and a divisor", layer, heads.q,
                   heads.dim, heads.kv);
  heads.v_dim = heads.dim;
  return heads;
}

Result<Layers> ReadLayers(const ModelConfig& c) {
  Layers layers;
  NIBBLE_TRY(layers.slides, Gemma4SlidingLayers(c));
  NIBBLE_TRY_IN(c.where, layers.values_are_keys, JsonBool(c.json, "attention_k_eq_v", false));
  NIBBLE_TRY_IN(c.where, const int64_t sharing, JsonInt(c.json, "num_kv_shared_layers", 0));
  if (sharing < 0 || sharing >= c.layers)
    return Corrupt("{}: num_kv_shared_layers is {} of {} layers; wanted fewer", c.where, sharing, c.layers);
  layers.own = c.layers - sharing;
  for (int64_t i = 0; i < c.layers; ++i) {
    const bool slides = layers.slides[static_cast<size_t>(i)];
    NIBBLE_TRY_IN(c.where, const GraphBuilder::Heads heads, HeadsOf(c, i, slides, layers.values_are_keys));
    layers.heads.push_back(heads);
    int64_t from = i < layers.own ? -1 : layers.own - 1;
    while (from >= 0 && layers.slides[static_cast<size_t>(from)] != slides) --from;
    if (i >= layers.own && from < 0)
      return Corrupt("{}: layer {} shares keys and values, and none of its kind before it has any", c.where, i);
    if (from >= 0 &&
        (layers.heads[static_cast<size_t>(from)].dim != heads.dim || layers.heads[static_cast<size_t>(from)].kv != heads.kv))
      return Corrupt("{}: layer {} shares the keys and values of layer {}, whose heads differ", c.where, i, from);
    layers.shared.push_back(static_cast<int>(from));
  }
  return layers;
}

Status UseAttention(const ModelConfig& c, const Layers& layers, DecoderOptions* o) {
  const auto at = [](const auto& list, int64_t layer) { return list[static_cast<size_t>(layer)]; };
  o->heads = [=](int64_t layer) { return at(layers.heads, layer); };
  o->values_are_keys = [=](int64_t layer) { return layers.values_are_keys && !at(layers.slides, layer); };
  o->value_norm = true;
  o->qk_norm = DecoderOptions::kHead;
  NIBBLE_TRY_IN(c.where, const int64_t window, JsonInt(c.json, "sliding_window", 512));
  o->attention = [=](int64_t layer, GraphBuilder::AttentionOptions* a) {
    a->scale = 1;
    a->window = at(layers.slides, layer) ? window : 0;
    a->shared_state = at(layers.shared, layer);  // layers before those that share have a state each
  };
  ModelConfig kinds = c;
  if (!JsonFind(c.json, "rope_parameters"))
    kinds.json["rope_parameters"] = {
        {"full_attention", {{"rope_type", "proportional"}, {"partial_rotary_factor", 0.25}, {"rope_theta", 1e6}}},
        {"sliding_attention", {{"rope_theta", 10000.0}}}};
  std::vector<RopeSpec> ropes;
  for (int64_t i = 0; i < c.layers; ++i) {
    const char* kind = at(layers.slides, i) ? "sliding_attention" : "full_attention";
    NIBBLE_TRY(ropes.emplace_back(), RopeFromConfig(kinds, at(layers.heads, i).dim, {.layer_type = kind}));
  }
  o->rope = [shared = std::make_shared<const std::vector<RopeSpec>>(std::move(ropes))](int64_t layer) {
    return &(*shared)[static_cast<size_t>(layer)];
  };
  return {};
}

// Each layer adds up(act(gate(x)) * e), e being the layer's columns of (norm(projection(x0)) + an embedding of the token) / sqrt 2.
Status UseLayerInputs(const ModelConfig& c, DecoderOptions* o) {
  NIBBLE_TRY_IN(c.where, const int64_t width, JsonInt(c.json, "hidden_size_per_layer_input", 256));
  NIBBLE_TRY_IN(c.where, const int64_t rows, JsonInt(c.json, "vocab_size_per_layer_input", c.vocab));
  if (width < 0 || width > (1 << 20)) return Corrupt("{}: hidden_size_per_layer_input is {}", c.where, width);
  if (width > 0 && rows < c.vocab)
    return Corrupt("{}: vocab_size_per_layer_input {} is smaller than vocab_size {}", c.where, rows, c.vocab);
  const GraphBuilder::Norm norm = o->norm;
  const auto inputs = std::make_shared<BufferId>(-1);  // of the graph being built
  if (width > 0) {
    o->start = [=, hidden = c.hidden, layers = c.layers](GraphBuilder& b, BufferId x) {
      GraphBuilder::Norm each = norm;
      each.name = "model.per_layer_projection_norm";
      *inputs = b.Replicated(x, {{"model.per_layer_model_projection", layers * width}});
      b.Scale(*inputs, 1 / std::sqrt(static_cast<float>(hidden)));
      b.SliceNorm(*inputs, each, 0, layers, width);
      b.Add(*inputs, b.Embed("model.embed_tokens_per_layer", rows, layers * width, std::sqrt(static_cast<float>(width))));
      b.Scale(*inputs, std::sqrt(0.5f));
    };
  }
  o->finish_layer = [=, hidden = c.hidden, act = c.act](GraphBuilder& b, BufferId x, int64_t layer, const std::string& prefix) {
    if (width > 0) {
      GraphBuilder::Norm after = norm;
      after.name = prefix + "post_per_layer_input_norm";
      const BufferId mine = b.Columns(*inputs, layer * width, width);
      b.Multiply(mine, b.Replicated(x, {{prefix + "per_layer_input_gate", width}}), act);
      b.Add(x, b.NormOf(b.Replicated(mine, {{prefix + "per_layer_projection", hidden}}), after));
    }
    b.ScaleBy(x, prefix + "layer_scalar", 1);
  };
  return {};
}

GraphBuilder::Mlp DenseMlp(const ModelConfig& c, const std::string& layer, int64_t inter) {
  const std::string mlp = layer + "mlp.";
  return {.gate = mlp + "gate_proj",
          .up = mlp + "up_proj",
          .down = mlp + "down_proj",
          .fused = mlp + "gate_up_proj",
          .hidden = c.hidden,
          .inter = inter,
          .rule = {c.act}};
}

// The MLP and the experts read x, each through a norm of its own; the sum of what their norms give is the layer's.
Status UseExperts(const ModelConfig& c, DecoderOptions* o) {
  MoeSpec spec{.hidden = c.hidden, .gate = {c.act}};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &spec));
  NIBBLE_TRY_IN(c.where, spec.inter, JsonInt(c.json, "moe_intermediate_size"));
  if (spec.inter < 1) return Corrupt("{}: moe_intermediate_size is {}, wanted a positive number", c.where, spec.inter);
  o->names.mlp_in = "";
  o->mlp = [c, spec, norm = o->norm](GraphBuilder& b, BufferId x, int64_t, const std::string& layer) -> Result<BufferId> {
    const auto normed = [&](BufferId in, const char* name) {
      GraphBuilder::Norm own = norm;
      own.name = layer + name;
      return b.NormOf(in, own);
    };
    const BufferId dense =
        normed(b.GatedMlp(normed(x, "pre_feedforward_layernorm"), DenseMlp(c, layer, c.inter)), "post_feedforward_layernorm_1");
    GraphBuilder::Norm bare = norm;
    bare.name = layer + "router.norm";
    bare.has_weight = false;
    const BufferId routed = b.NormOf(x, bare);
    b.ScaleBy(routed, layer + "router.scale", c.hidden);
    b.Scale(routed, 1 / std::sqrt(static_cast<float>(c.hidden)));
    MoeSpec moe = spec;
    moe.prefix = layer + "experts";
    const BufferId chosen = b.Experts(normed(x, "pre_feedforward_layernorm_2"), {layer + "router.proj", moe.experts}, moe, "",
                                      routed, layer + "router.per_expert_scale");
    b.Add(dense, normed(chosen, "post_feedforward_layernorm_2"));
    return dense;
  };
  return {};
}

Result<DecoderOptions> Gemma4Options(const ModelConfig& config) {
  ModelConfig c = config;
  c.json.erase("rope_parameters");  // of two kinds; see UseAttention
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_TRY(const Layers layers, ReadLayers(config));
  NIBBLE_TRY_IN(c.where, const double cap, JsonNumber(c.json, "final_logit_softcapping", 0.0));
  NIBBLE_TRY_IN(c.where, const bool experts, JsonBool(c.json, "enable_moe_block", false));
  NIBBLE_TRY_IN(c.where, const bool wide, JsonBool(c.json, "use_double_wide_mlp", false));
  NIBBLE_TRY_IN(c.where, const std::string both_ways, JsonString(c.json, "use_bidirectional_attention", ""));
  if (both_ways == "all") return Unsupported("{}: use_bidirectional_attention \"all\": rows would see later ones", c.where);
  o.embed_scale = std::sqrt(static_cast<float>(c.hidden));
  o.head.softcap = static_cast<float>(cap);
  o.names.attn_out = "post_attention_layernorm";
  o.names.mlp_in = "pre_feedforward_layernorm";
  o.names.mlp_out = "post_feedforward_layernorm";
  NIBBLE_RETURN_IF_ERROR(UseAttention(config, layers, &o));
  NIBBLE_RETURN_IF_ERROR(UseLayerInputs(c, &o));
  if (experts) {
    if (wide && layers.own < c.layers) return Unsupported("{}: experts beside MLPs of double width", c.where);
    NIBBLE_RETURN_IF_ERROR(UseExperts(c, &o));
  } else if (wide) {
    o.mlp = [c, own = layers.own](GraphBuilder& b, BufferId in, int64_t i, const std::string& layer) -> Result<BufferId> {
      return b.GatedMlp(in, DenseMlp(c, layer, i < own ? c.inter : 2 * c.inter));
    };
  }
  return o;
}

// Files of models whose last layers share hold matrices that these layers do not use.
std::vector<std::string> UnusedKeys(const ModelConfig& c) {
  std::vector<std::string> parts;
  const int64_t sharing = std::clamp<int64_t>(JsonInt(c.json, "num_kv_shared_layers", 0).value_or(0), 0, c.layers);
  for (int64_t i = c.layers - sharing; i < c.layers; ++i)
    for (const char* name : {"k_proj", "v_proj", "k_norm", "v_norm"})
      parts.push_back(fmt::format("layers.{}.self_attn.{}.", i, name));
  return parts;
}

}  // namespace

const Architecture* gemma4_architecture() {
  static const Architecture architecture = MakeDecoder<Gemma4Options>(
      "gemma4", {"gemma4_text"},
      R"({"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "sliding_window": 512, "tie_word_embeddings": true})",
      {"rotary_emb.inv_freq"}, {}, UnusedKeys);
  return &architecture;
}

}  // namespace nibble
