// SPDX-License-Identifier: Apache-2.0
#include "models/decoder.h"

#include <cmath>
#include <map>
#include <memory>

namespace nibble {
namespace {

using Norm = GraphBuilder::Norm;

// One decoder being built.
class Decoder {
 public:
  Decoder(const ModelConfig& config, const DecoderOptions& options, int rank, int ranks)
      : c_(config), o_(options), n_(options.names), b_(rank, ranks) {}

  Result<Graph> Build() {
    x_ = b_.Embed(n_.embed, c_.vocab, o_.embed_width ? o_.embed_width : c_.hidden, o_.embed_scale);
    if (!n_.embed_in.empty()) x_ = b_.Replicated(x_, {{n_.embed_in, c_.hidden}});
    if (!n_.positions.empty()) b_.Positions(x_, n_.positions, o_.position_rows, o_.position_offset);
    if (!n_.embed_norm.empty()) x_ = b_.NormOf(x_, Named(o_.norm, n_.embed_norm));
    if (o_.start) o_.start(b_, x_);
    for (int64_t i = 0; i < c_.layers; ++i) NIBBLE_RETURN_IF_ERROR(Layer(i));
    GraphBuilder::Head head = o_.head;
    head.name = n_.head;
    head.vocab = c_.vocab;
    if (c_.tied) head.tied_to = n_.embed;
    b_.Logits(x_, Named(o_.norm, n_.final_norm), head);
    return b_.Finish();
  }

 private:
  static Norm Named(Norm norm, std::string name) {
    norm.name = std::move(name);
    return norm;
  }
  BufferId NormOf(BufferId in, const std::string& layer, const std::string& name) {
    return name.empty() ? in : b_.NormOf(in, Named(o_.norm, layer + name));
  }

  Status Layer(int64_t i) {
    const std::string layer = fmt::format("{}.{}.", n_.layers, i);
    const BufferId h = o_.post_norm ? x_ : NormOf(x_, layer, n_.attn_in);
    NIBBLE_TRY(const BufferId mixed, Mixer(h, i, layer));
    const BufferId attended = NormOf(mixed, layer, n_.attn_out);
    if (!o_.parallel) AddBlock(h, attended, i, false);
    if (o_.post_norm) x_ = NormOf(x_, layer, n_.attn_in);
    const bool as_it_is = o_.post_norm || (o_.parallel && n_.mlp_in.empty());
    const BufferId g = !as_it_is ? NormOf(x_, layer, n_.mlp_in) : o_.post_norm ? x_ : h;
    NIBBLE_TRY(const BufferId out, Mlp(g, i, layer));
    if (o_.parallel) b_.Add(x_, attended, o_.residual_scale);
    AddBlock(g, NormOf(out, layer, n_.mlp_out), i, true);
    if (o_.post_norm) x_ = NormOf(x_, layer, n_.mlp_in);
    if (o_.finish_layer) o_.finish_layer(b_, x_, i, layer);
    return {};
  }
  void AddBlock(BufferId normed, BufferId out, int64_t i, bool mlp) {
    if (!o_.normed_residual) return b_.Add(x_, out, o_.residual_scale);
    const auto [kept, added] = o_.normed_residual(i, mlp);
    x_ = normed;
    if (kept != 1) b_.Scale(x_, kept);
    b_.Add(x_, out, added);
  }

  Result<BufferId> Mixer(BufferId in, int64_t i, const std::string& layer) {
    if (o_.mixer) {
      NIBBLE_TRY(const BufferId out, o_.mixer(b_, in, i, layer));
      if (out >= 0) return out;
    }
    return Attention(in, i, layer + n_.attn);
  }

  BufferId Attention(BufferId in, int64_t i, const std::string& attn) {
    GraphBuilder::Heads heads = {.q = c_.heads, .kv = c_.kv_heads, .dim = c_.head_dim};
    if (o_.heads) heads = o_.heads(i);
    if (heads.v_dim == 0) heads.v_dim = heads.dim;
    const bool width_norm = o_.qk_norm == DecoderOptions::kWidth;
    GraphBuilder::AttentionOptions options;
    if (o_.attention) o_.attention(i, &options);
    const bool shares = options.shared_state >= 0, no_v = shares || (o_.values_are_keys && o_.values_are_keys(i));
    auto qkv = b_.QkvProjection(in, {.q = attn + n_.q,
                                     .k = shares ? "" : attn + n_.k,
                                     .v = no_v ? "" : attn + n_.v,
                                     .fused = n_.qkv.empty() ? "" : attn + n_.qkv,
                                     .heads = heads,
                                     .bias = o_.qkv_bias,
                                     .order = o_.qkv_order,
                                     .transposed = o_.transposed,
                                     .gated = o_.gate_in_q,
                                     .whole = width_norm});
    // olmoe clamps after its norms, olmo has none: the order of clamp and norm is the family's.
    if (o_.clip_qkv > 0 && !width_norm) b_.Clamp(qkv.buffer, o_.clip_qkv);
    const Norm q_norm = Named(o_.head_norm, attn + n_.q_norm), k_norm = Named(o_.head_norm, attn + n_.k_norm);
    if (width_norm) {
      b_.WidthNorm(qkv, q_norm, k_norm);
      qkv = b_.TakeHeads(qkv);
      if (o_.clip_qkv > 0) b_.Clamp(qkv.buffer, o_.clip_qkv);
    }
    const bool head_norm = o_.qk_norm == DecoderOptions::kHead && (!o_.norm_where || o_.norm_where(i));
    if (head_norm && !o_.norm_after_rope) b_.HeadNorm(qkv, q_norm, k_norm);
    if (const RopeSpec* rope = o_.rope ? o_.rope(i) : nullptr) b_.Rope(qkv, RopeId(rope));
    if (head_norm && o_.norm_after_rope) b_.HeadNorm(qkv, q_norm, k_norm);
    if (o_.value_norm && !shares) b_.ValueNorm(qkv, o_.norm.eps);
    BufferId mixed = b_.Attention(qkv, options);
    if (o_.value_scale != 1) b_.Scale(mixed, o_.value_scale);
    if (o_.gate_in_q) b_.MultiplyByGate(mixed, qkv);
    if (!n_.attn_gate.empty()) {
      const int64_t unit = o_.gate_by_head ? 1 : heads.v_dim;
      const BufferId gate = b_.ColumnParallel(in, {{.name = attn + n_.attn_gate, .n = heads.q * unit, .shard_unit = unit}});
      if (o_.softplus_gate)
        b_.MultiplyBySoftplus(mixed, gate);
      else
        b_.Multiply(mixed, gate, Activation::kSigmoid);
    }
    if (!n_.before_o.empty()) mixed = b_.WidthNormOfSlices(mixed, Named(o_.norm, attn + n_.before_o), heads.v_dim);
    return b_.RowParallel(mixed, {attn + n_.o, c_.hidden, o_.o_bias}, heads.q * heads.v_dim, heads.v_dim, o_.transposed);
  }

  Result<BufferId> Mlp(BufferId in, int64_t i, const std::string& layer) {
    if (o_.mlp) {
      NIBBLE_TRY(const BufferId out, o_.mlp(b_, in, i, layer));
      if (out >= 0) return out;
    }
    const std::string mlp = layer + n_.mlp;
    GraphBuilder::Mlp dense{.gate = o_.gated ? mlp + n_.gate : "",
                            .up = mlp + n_.up,
                            .down = mlp + n_.down,
                            .fused = o_.gated && !n_.gate_up.empty() ? mlp + n_.gate_up : "",
                            .hidden = c_.hidden,
                            .inter = o_.dense_inter ? o_.dense_inter : c_.inter,
                            .rule = {c_.act},
                            .bias = o_.mlp_bias,
                            .transposed = o_.transposed};
    if (o_.xielu) {
      dense.alpha_p = mlp + "act_fn.alpha_p";
      dense.alpha_n = mlp + "act_fn.alpha_n";
    }
    if (!n_.before_down.empty()) dense.norm = Named(o_.norm, mlp + n_.before_down);
    return b_.GatedMlp(in, dense);
  }

  int RopeId(const RopeSpec* rope) {
    const auto [at, added] = ropes_.try_emplace(rope, 0);
    if (added) at->second = b_.AddRope(*rope);
    return at->second;
  }

  const ModelConfig& c_;
  const DecoderOptions& o_;
  const DecoderNames& n_;
  GraphBuilder b_;
  BufferId x_ = -1;
  std::map<const RopeSpec*, int> ropes_;
};

}  // namespace

std::function<const RopeSpec*(int64_t)> OneRope(RopeSpec rope) {
  return [shared = std::make_shared<const RopeSpec>(std::move(rope))](int64_t) { return shared.get(); };
}

std::function<const RopeSpec*(int64_t)> RopeWhere(RopeSpec rope, std::function<bool(int64_t)> has) {
  return [one = OneRope(std::move(rope)), has = std::move(has)](int64_t layer) { return has(layer) ? one(layer) : nullptr; };
}

std::function<Result<BufferId>(GraphBuilder&, BufferId, int64_t, const std::string&)> MoeMlp(MoeBlock block) {
  return [block = std::move(block)](GraphBuilder& b, BufferId in, int64_t i, const std::string& layer) -> Result<BufferId> {
    if (block.has && !block.has(i)) return -1;
    const std::string mlp = layer + block.mlp;
    MoeSpec spec = block.spec;
    spec.prefix = mlp + block.experts;
    if (!block.other_mlp.empty()) spec.prefixes_on_disk = {layer + block.other_mlp + block.experts};
    const BufferId out = b.Experts(in, {mlp + block.router, spec.experts, block.router_bias}, spec,
                                   block.choice_bias.empty() ? "" : mlp + block.choice_bias);
    if (block.shared.empty()) return out;
    const std::string shared = mlp + block.shared + ".";
    const BufferId every = b.GatedMlp(in, {.gate = shared + "gate_proj",
                                           .up = shared + "up_proj",
                                           .down = shared + "down_proj",
                                           .fused = shared + "gate_up_proj",
                                           .hidden = spec.hidden,
                                           .inter = block.shared_inter,
                                           .rule = spec.gate});
    if (!block.shared_gate.empty()) b.Multiply(every, b.Router(in, {mlp + block.shared_gate, 1}), Activation::kSigmoid);
    b.Add(out, every);
    return out;
  };
}

Result<MoeBlock> DeepseekMoe(const ModelConfig& c) {
  MoeBlock block{.spec = {.hidden = c.hidden, .router = RouterKind::kSigmoidTopK, .group_by_two = true, .gate = {c.act}}};
  MoeSpec& moe = block.spec;
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe));
  NIBBLE_TRY_IN(c.where, moe.inter, JsonInt(c.json, "moe_intermediate_size"));
  NIBBLE_TRY_IN(c.where, moe.groups, JsonInt(c.json, "n_group", 1));
  NIBBLE_TRY_IN(c.where, moe.top_groups, JsonInt(c.json, "topk_group", 1));
  NIBBLE_TRY_IN(c.where, moe.renormalize, JsonBool(c.json, "norm_topk_prob", true));
  NIBBLE_TRY_IN(c.where, const double scale, JsonNumber(c.json, "routed_scaling_factor", 1.0));
  NIBBLE_TRY_IN(c.where, const int64_t shared, JsonInt(c.json, "n_shared_experts", 0));
  NIBBLE_TRY_IN(c.where, const int64_t dense, JsonInt(c.json, "first_k_dense_replace", 0));
  if (moe.inter < 1) return Corrupt("{}: moe_intermediate_size is {}, wanted a positive number", c.where, moe.inter);
  if (moe.groups < 1 || moe.experts % moe.groups != 0 || moe.top_groups < 1 || moe.top_groups > moe.groups ||
      moe.top_k > moe.top_groups * (moe.experts / moe.groups))
    return Corrupt("{}: {} of {} experts cannot be chosen from {} of {} groups", c.where, moe.top_k, moe.experts, moe.top_groups,
                   moe.groups);
  moe.scale = static_cast<float>(scale);
  moe.renormalize_eps = 1e-20f;
  block.choice_bias = "gate.e_score_correction_bias";
  if (shared > 0) {
    block.shared = "shared_experts";
    block.shared_inter = shared * moe.inter;
  }
  std::vector<bool> sparse;
  // moe_layer_freq: every so many layers, or 0 and 1 for each.
  const Json *types = JsonFind(c.json, "mlp_layer_types"), *freq = JsonFind(c.json, "moe_layer_freq");
  const auto lists = [](const Json* list, int64_t i) { return list && list->is_array() && i < static_cast<int64_t>(list->size()); };
  const int64_t every = freq && freq->is_number_integer() ? std::max<int64_t>(1, freq->get<int64_t>()) : 1;
  for (int64_t i = 0; i < c.layers; ++i) {
    const auto at = static_cast<size_t>(i);
    if (lists(types, i))
      sparse.push_back((*types)[at] == "sparse");
    else
      sparse.push_back(lists(freq, i) ? (*freq)[at] == 1 : i >= dense && i % every == 0);
  }
  block.has = [sparse](int64_t layer) { return sparse[static_cast<size_t>(layer)]; };
  return block;
}

Status CountExperts(const ModelConfig& c, MoeSpec* moe) {
  NIBBLE_TRY_IN(c.where, moe->experts, JsonInt(c.json, "num_experts"));
  NIBBLE_TRY_IN(c.where, moe->top_k, JsonInt(c.json, "num_experts_per_tok"));
  if (moe->experts < 1 || moe->top_k < 1 || moe->top_k > moe->experts)
    return Corrupt("{}: num_experts_per_tok {} of {} experts; wanted 1 <= chosen <= experts", c.where, moe->top_k, moe->experts);
  return {};
}

Result<std::vector<bool>> SparseLayers(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const int64_t step, JsonInt(c.json, "decoder_sparse_step", 1));
  std::vector<bool> sparse;
  for (int64_t i = 0; i < c.layers; ++i) sparse.push_back(step >= 1 && (i + 1) % step == 0);
  if (const Json* list = JsonFind(c.json, "mlp_only_layers"); list && list->is_array())
    for (const Json& layer : *list)
      if (layer.is_number_integer() && layer.get<int64_t>() >= 0 && layer.get<int64_t>() < c.layers)
        sparse[layer.get<size_t>()] = false;
  return sparse;
}

std::vector<float> AlibiSlopes(int64_t heads, int64_t bias_max) {
  int64_t n = 1;
  while (n < heads) n *= 2;
  const auto slope = [&](int64_t j) {
    return static_cast<float>(std::pow(2.0, -static_cast<double>(bias_max * j) / static_cast<double>(n)));
  };
  std::vector<float> slopes;
  for (int64_t j = n == heads ? 1 : 2; j <= n; j += n == heads ? 1 : 2) slopes.push_back(slope(j));
  for (int64_t j = 1; static_cast<int64_t>(slopes.size()) < heads; j += 2) slopes.push_back(slope(j));
  return slopes;
}

Result<DecoderOptions> UsualOptions(const ModelConfig& c, const RopeDefaults& rope, const std::function<bool(int64_t)>& slides) {
  DecoderOptions o;
  o.norm = o.head_norm = {.eps = c.norm_eps};
  o.qkv_bias = o.o_bias = c.attention_bias;
  o.mlp_bias = c.mlp_bias;
  NIBBLE_TRY(RopeSpec spec, RopeFromConfig(c, c.head_dim, rope));
  o.rope = OneRope(std::move(spec));
  std::vector<int64_t> windows;
  for (int64_t i = 0; i < c.layers; ++i) {
    NIBBLE_TRY(windows.emplace_back(), LayerWindow(c, i, slides && slides(i)));
  }
  o.attention = [windows](int64_t layer, GraphBuilder::AttentionOptions* attention) {
    attention->window = windows[static_cast<size_t>(layer)];
  };
  return o;
}

Result<Graph> BuildDecoder(const ModelConfig& config, const DecoderOptions& options, int rank, int ranks) {
  return Decoder(config, options, rank, ranks).Build();
}

std::vector<FoldPoint> DecoderFoldPoints(const ModelConfig& c, const DecoderOptions& o) {
  const DecoderNames& n = o.names;
  std::vector<FoldPoint> points;
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = fmt::format("{}.{}.", n.layers, i), attn = layer + n.attn, mlp = layer + n.mlp;
    std::vector<std::string> into_attn = {attn + n.q, attn + n.k, attn + n.v}, into_mlp = {mlp + n.up};
    if (!n.attn_gate.empty()) into_attn.push_back(attn + n.attn_gate);
    if (o.gated) into_mlp.insert(into_mlp.begin(), mlp + n.gate);
    const std::vector<std::string> mixer = o.mixer_modules ? o.mixer_modules(i) : std::vector<std::string>{};
    if (!mixer.empty()) {
      into_attn.clear();
      for (const std::string& module : mixer) into_attn.push_back(layer + module);
    }
    // A norm's result that is also what is added to is no place to fold.
    const bool folds_norms = !o.normed_residual && !o.post_norm;
    if (o.parallel && n.mlp_in.empty()) into_attn.insert(into_attn.end(), into_mlp.begin(), into_mlp.end());
    if (o.mixer_folds) {
      const std::vector<FoldPoint> own = o.mixer_folds(layer);
      points.insert(points.end(), own.begin(), own.end());
    } else {
      if (folds_norms && !n.attn_in.empty()) points.push_back({layer + n.attn_in, into_attn});
      if (mixer.empty() && n.before_o.empty()) points.push_back({attn + n.v, {attn + n.o}});
    }
    if (folds_norms && !n.mlp_in.empty()) points.push_back({layer + n.mlp_in, into_mlp});
    if (o.gated && n.before_down.empty()) points.push_back({mlp + n.up, {mlp + n.down}});
  }
  return points;
}

}  // namespace nibble
