// SPDX-License-Identifier: Apache-2.0
// The decoder that most families share, for the files in arch/: a family fills in what its paper's figure shows and the names that
// its tensors have. Nothing here asks for a model's name.
//
//   a = attention(attn_in(x));  x += residual * attn_out(a)         parallel: both read x as it came in, and without mlp_in
//   m = mlp(mlp_in(x));         x += residual * mlp_out(m)          the MLP reads what attention reads
#pragma once

#include <functional>
#include <string>

#include "models/architecture.h"

namespace nibble {

// Modules; those of a layer stand after "<layers>.<number>.", those of attention and MLP after `attn` and `mlp`.
struct DecoderNames {
  std::string embed = "model.embed_tokens", layers = "model.layers", final_norm = "model.norm", head = "lm_head";
  std::string attn = "self_attn.", q = "q_proj", k = "k_proj", v = "v_proj", qkv = "qkv_proj", o = "o_proj";
  std::string mlp = "mlp.", gate = "gate_proj", up = "up_proj", gate_up = "gate_up_proj", down = "down_proj";
  // Norms; empty: there is none.
  std::string attn_in = "input_layernorm", attn_out, mlp_in = "post_attention_layernorm", mlp_out;
  std::string q_norm = "q_norm", k_norm = "k_norm";
  std::string attn_gate;              // linear of x whose sigmoid multiplies what attention gives, before the last product
  std::string before_o, before_down;  // of the whole width, before the last product ("attn_sub_norm"); with `attn` or `mlp`
  std::string embed_norm, positions;  // whole names
  std::string embed_in;               // whole name of a linear from embeddings of another width to x; empty: none
};

struct DecoderOptions {
  DecoderNames names;
  GraphBuilder::Norm norm;                                  // prototype of all norms; the name is filled in
  bool parallel = false;                                    // attention and MLP read the same x
  bool post_norm = false;                                   // x = attn_in(x + attention(x)); x = mlp_in(x + mlp(x))
  bool gated = true;                                        // down(act(gate) * up), else down(act(up))
  bool xielu = false;                                       // its parameters are "<mlp>act_fn.alpha_p", "..._n"
  std::function<GraphBuilder::Heads(int64_t layer)> heads;  // null: those of the config
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  GraphBuilder::FusedOrder qkv_order = GraphBuilder::FusedOrder::kBlocks;
  bool transposed = false;  // products may be stored [k, n]
  bool gate_in_q = false;   // sigmoid gates as names.attn_gate says, their rows after those of each head in q's module
  bool gate_by_head = false, softplus_gate = false;  // of names.attn_gate: a gate for each head; softplus for sigmoid
  float clip_qkv = 0;                                // 0: not clamped
  enum QkNorm : uint8_t { kNone, kHead, kWidth } qk_norm = kNone;
  GraphBuilder::Norm head_norm;                        // prototype of q_norm and k_norm
  bool value_norm = false;                             // each v head normed, without weights
  std::function<bool(int64_t layer)> values_are_keys;  // no v: a copy of k before norm and rope; null: nowhere
  bool norm_after_rope = false;
  std::function<const RopeSpec*(int64_t layer)> norm_where;  // head norms in the layers where this is not null; empty: in all
  int64_t dense_inter = 0;                                   // of MLPs that are not experts; 0: the config's
  // The rope of a layer, null: none.
  std::function<const RopeSpec*(int64_t layer)> rope;
  std::function<void(int64_t layer, GraphBuilder::AttentionOptions*)> attention;
  int64_t position_rows = 0, position_offset = 0;  // of names.positions
  int64_t embed_width = 0;                         // 0: that of x
  float embed_scale = 1, residual_scale = 1, value_scale = 1;
  // x = kept * h + added * block(h) with h the normed x: what is added to is the norm's result, not what went into it (MiniMax).
  struct NormedResidual {
    float kept = 1, added = 1;
  };
  std::function<NormedResidual(int64_t layer, bool mlp)> normed_residual;  // null: x += residual_scale * block(h)
  GraphBuilder::Head head;                                                 // bias, scale, softcap; the rest is filled in
  // Replace attention or the MLP in the layers where they return a buffer (not -1). prefix: "model.layers.0."
  std::function<Result<BufferId>(GraphBuilder&, BufferId in, int64_t layer, const std::string&prefix)> mixer, mlp;
  // What a family does to x before the first layer and after each.
  std::function<void(GraphBuilder&, BufferId x)> start;
  std::function<void(GraphBuilder&, BufferId x, int64_t layer, const std::string& prefix)> finish_layer;
  std::function<std::vector<FoldPoint>(const std::string& prefix)> mixer_folds;  // of a mixer that replaces all attention
  // Modules that read attn_in where `mixer` stands for attention, after "<layers>.<number>."; empty: attention.
  std::function<std::vector<std::string>(int64_t layer)> mixer_modules;
};

// What most configs mean: RMS norm of norm_eps, biases, tied embeddings, one rope for all layers, windows as LayerWindow says.
Result<DecoderOptions> UsualOptions(const ModelConfig& config, const RopeDefaults& rope = {},
                                    const std::function<bool(int64_t layer)>& slides = {});
// A rope for `layer` among several.
std::function<const RopeSpec*(int64_t)> OneRope(RopeSpec rope);
std::function<const RopeSpec*(int64_t)> RopeWhere(RopeSpec rope, std::function<bool(int64_t layer)> has);

// A mixture of experts in place of an MLP; modules after "<prefix><mlp>".
struct MoeBlock {
  MoeSpec spec;                                                               // hidden, experts ...; the prefix is filled in
  std::string mlp = "mlp.", router = "gate", experts = "experts", other_mlp;  // other_mlp: another name of `mlp` for the experts
  std::string choice_bias;                                                    // whole tensor, after mlp; empty: none
  bool router_bias = false;
  std::string shared;  // module of an MLP that every row goes through; empty: none
  int64_t shared_inter = 0;
  std::string shared_gate;                 // linear to one column whose sigmoid multiplies the shared MLP; empty: none
  std::function<bool(int64_t layer)> has;  // layers with experts; null: all
};
// For DecoderOptions::mlp.
std::function<Result<BufferId>(GraphBuilder&, BufferId, int64_t, const std::string&)> MoeMlp(MoeBlock block);
// The router of DeepSeek V3 and its kin: sigmoid scores, chosen with a bias, from the best groups, renormalized and scaled, by the
// keys n_group, topk_group, norm_topk_prob, routed_scaling_factor; experts of moe_intermediate_size, shared ones of
// n_shared_experts times that; dense layers by mlp_layer_types or first_k_dense_replace.
Result<MoeBlock> DeepseekMoe(const ModelConfig& config);

// experts and top_k of a mixture: num_experts (or its other names) and num_experts_per_tok, checked.
Status CountExperts(const ModelConfig& config, MoeSpec* moe);
// Which layers have experts: every decoder_sparse_step-th that mlp_only_layers does not name.
Result<std::vector<bool>> SparseLayers(const ModelConfig& config);

// ALiBi: 2^(-bias_max j / n), n the power of two that holds all heads; j = 1 ... n, or where there are fewer heads the even ones
// first.
std::vector<float> AlibiSlopes(int64_t heads, int64_t bias_max);

Result<Graph> BuildDecoder(const ModelConfig& config, const DecoderOptions& options, int rank, int ranks);
// norm -> q,k,v; v -> o; norm -> gate,up; up -> down, where nothing stands between them.
std::vector<FoldPoint> DecoderFoldPoints(const ModelConfig& config, const DecoderOptions& options);

// An architecture that is a decoder with these options. `defaults`: see Architecture.
template <Result<DecoderOptions> (*options)(const ModelConfig&)>
Architecture MakeDecoder(std::string_view name, std::vector<std::string_view> model_types, std::string_view defaults = "{}",
                         std::vector<std::string_view> ignored_tensors = {"rotary_emb.inv_freq"},
                         std::vector<NamePrefix> prefixes = {},
                         std::vector<std::string> (*unused_tensors)(const ModelConfig&) = nullptr) {
  return {.name = name,
          .model_types = std::move(model_types),
          .defaults = defaults,
          .build = [](const ModelConfig& c, int rank, int ranks) -> Result<Graph> {
            NIBBLE_TRY(const DecoderOptions o, options(c));
            return BuildDecoder(c, o, rank, ranks);
          },
          .fold_points =
              [](const ModelConfig& c) {
                const auto o = options(c);
                return o ? DecoderFoldPoints(c, *o) : std::vector<FoldPoint>{};
              },
          .ignored_tensors = std::move(ignored_tensors),
          .prefixes = std::move(prefixes),
          .unused_tensors = unused_tensors};
}

}  // namespace nibble
