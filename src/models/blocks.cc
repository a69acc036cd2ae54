// SPDX-License-Identifier: Apache-2.0
#include "models/blocks.h"

#include <cmath>

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

}  // namespace

Status AddGemmaBlocks(const ModelConfig& c, DecoderOptions* o) {
  NIBBLE_TRY_IN(c.where, const double score_cap, JsonNumber(c.json, "attn_logit_softcapping", 0.0));
  NIBBLE_TRY_IN(c.where, const double logit_cap, JsonNumber(c.json, "final_logit_softcapping", 0.0));
  NIBBLE_TRY_IN(c.where, const double scalar, JsonNumber(c.json, "query_pre_attn_scalar", 256.0));
  o->norm.offset = 1;
  o->embed_scale = std::sqrt(static_cast<float>(c.hidden));
  o->names.attn_out = "post_attention_layernorm";
  o->names.mlp_in = "pre_feedforward_layernorm";
  o->names.mlp_out = "post_feedforward_layernorm";
  o->head.softcap = static_cast<float>(logit_cap);
  o->attention = [windows = o->attention, score_cap, scalar](int64_t layer, GraphBuilder::AttentionOptions* a) {
    windows(layer, a);
    a->softcap = static_cast<float>(score_cap);
    a->scale = static_cast<float>(1 / std::sqrt(scalar));
  };
  return {};
}

Status AddWindowRope(const ModelConfig& c, double theta, DecoderOptions* o) {
  ModelConfig local = c;
  const Json* nested = JsonFind(c.json, "rope_parameters");
  if (!nested || !JsonFind(*nested, "sliding_attention")) {
    local.json.erase("rope_scaling");
    local.json["rope_parameters"] = {{"rope_theta", theta}};
  }
  NIBBLE_TRY(RopeSpec rope, RopeFromConfig(local, c.head_dim, {.theta = theta, .layer_type = "sliding_attention"}));
  o->rope = [everywhere = o->rope, near = OneRope(std::move(rope)), attention = o->attention](int64_t layer) {
    GraphBuilder::AttentionOptions a;
    attention(layer, &a);
    return a.window > 0 ? near(layer) : everywhere(layer);
  };
  return {};
}

Status AddGraniteMultipliers(const ModelConfig& c, DecoderOptions* o) {
  NIBBLE_TRY_IN(c.where, const double embed, JsonNumber(c.json, "embedding_multiplier", 1.0));
  NIBBLE_TRY_IN(c.where, const double residual, JsonNumber(c.json, "residual_multiplier", 1.0));
  NIBBLE_TRY_IN(c.where, const double scores, JsonNumber(c.json, "attention_multiplier", 1.0));
  NIBBLE_TRY_IN(c.where, const double logits, JsonNumber(c.json, "logits_scaling", 1.0));
  o->embed_scale = static_cast<float>(embed);
  o->residual_scale = static_cast<float>(residual);
  o->head.scale = static_cast<float>(1 / logits);
  o->attention = [scores](int64_t, GraphBuilder::AttentionOptions* a) { a->scale = static_cast<float>(scores); };
  return {};
}

Result<decltype(DecoderOptions::mlp)> GraniteMoeMlp(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t experts, JsonInt(c.json, "num_experts", 0));
  NIBBLE_TRY_IN(c.where, const int64_t width, JsonInt(c.json, "shared_intermediate_size", 0));
  if (width < 0 || width >= int64_t{1} << 31 || (experts == 0 && width == 0))
    return Corrupt("{}: shared_intermediate_size is {} beside {} experts, wanted a positive number", c.where, width, experts);
  decltype(DecoderOptions::mlp) chosen;
  if (experts != 0) {
    MoeBlock moe{.spec = {.hidden = c.hidden, .inter = c.inter, .router = RouterKind::kTopKSoftmax, .gate = {c.act}},
                 .mlp = "block_sparse_moe.",
                 .router = "router.layer"};
    NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
    chosen = MoeMlp(moe);
    if (width == 0) return chosen;
  }
  return [=, hidden = c.hidden, rule = GateRule{c.act}](GraphBuilder& b, BufferId in, int64_t i,
                                                        const std::string& layer) -> Result<BufferId> {
    const std::string shared = layer + "shared_mlp.";
    const BufferId every = b.GatedMlp(in, {.gate = shared + "gate_proj",
                                           .up = shared + "up_proj",
                                           .down = shared + "output_linear",
                                           .fused = shared + "input_linear",
                                           .hidden = hidden,
                                           .inter = width,
                                           .rule = rule});
    if (!chosen) return every;
    NIBBLE_TRY(const BufferId out, chosen(b, in, i, layer));
    b.Add(out, every);
    return out;
  };
}

Result<DecoderOptions> Exaone4Options(const ModelConfig& c) {
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

Result<DecoderOptions> GraniteMoeOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_RETURN_IF_ERROR(AddGraniteMultipliers(c, &o));
  NIBBLE_TRY(o.mlp, GraniteMoeMlp(c));
  return o;
}

Result<DecoderOptions> Gpt2Options(const ModelConfig& c) {
  DecoderOptions o;
  NIBBLE_TRY_IN(c.where, const bool scaled, JsonBool(c.json, "scale_attn_weights", true));
  NIBBLE_TRY_IN(c.where, const bool by_layer, JsonBool(c.json, "scale_attn_by_inverse_layer_idx", false));
  o.norm = {.eps = c.norm_eps, .rms = false, .bias = true};
  o.gated = false;
  o.qkv_bias = o.o_bias = o.mlp_bias = true;
  o.position_rows = c.max_positions;
  o.attention = [=, dim = c.head_dim](int64_t layer, GraphBuilder::AttentionOptions* a) {
    a->scale = scaled ? 1 / std::sqrt(static_cast<float>(dim)) : 1;
    if (by_layer) a->scale /= static_cast<float>(layer + 1);
  };
  o.names = {.embed = "transformer.wte",
             .layers = "transformer.h",
             .final_norm = "transformer.ln_f",
             .attn = "attn.",
             .qkv = "c_attn",
             .o = "c_proj",
             .up = "c_fc",
             .down = "c_proj",
             .attn_in = "ln_1",
             .mlp_in = "ln_2",
             .positions = "transformer.wpe"};
  return o;
}

Result<DecoderOptions> GptjOptions(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t rotary, JsonInt(c.json, "rotary_dim", 64));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = static_cast<double>(rotary) / static_cast<double>(c.head_dim),
                                                .interleaved = true}));
  o.norm.rms = false;
  o.norm.bias = true;
  o.parallel = true;
  o.gated = false;
  o.mlp_bias = o.head.bias = true;
  o.names.embed = "transformer.wte";
  o.names.layers = "transformer.h";
  o.names.final_norm = "transformer.ln_f";
  o.names.attn = "attn.";
  o.names.o = "out_proj";
  o.names.up = "fc_in";
  o.names.down = "fc_out";
  o.names.attn_in = "ln_1";
  o.names.mlp_in = "";
  return o;
}

Result<DecoderOptions> HunyuanOptions(const ModelConfig& config) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(config));
  o.qk_norm = DecoderOptions::kHead;
  o.norm_after_rope = true;
  o.names.q_norm = "query_layernorm";
  o.names.k_norm = "key_layernorm";
  return o;
}

void AddOlmoNorms(DecoderOptions* o) {
  o->qk_norm = DecoderOptions::kWidth;
  o->names.attn_in = o->names.mlp_in = "";
  o->names.attn_out = "post_attention_layernorm";
  o->names.mlp_out = "post_feedforward_layernorm";
}

}  // namespace nibble
