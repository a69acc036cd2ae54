// SPDX-License-Identifier: Apache-2.0
// MiniMax-Text-01: lightning attention in some layers, full attention in the others; a mixture of experts everywhere; what a block
// gives is added to the normed x, both with factors.
#include <cmath>

#include "models/hybrid.h"

namespace nibble {
namespace {

// Slopes as ALiBi's for a power of two of heads, weaker with every layer; the decay of a position is exp(-slope).
std::vector<float> Decays(const ModelConfig& c, int64_t layer) {
  const double depth = 1 - static_cast<double>(layer) / (static_cast<double>(c.layers - 1) + 1e-5) + 1e-5;
  std::vector<float> decays;
  for (int64_t head = 1; head <= c.heads; ++head)
    decays.push_back(
        static_cast<float>(std::exp(-depth * std::exp2(-8.0 * static_cast<double>(head) / static_cast<double>(c.heads)))));
  return decays;
}

BufferId Lightning(const ModelConfig& c, GraphBuilder& b, BufferId in, int64_t layer, const std::string& attn) {
  const int64_t width = c.heads * c.head_dim;
  const auto qkv = b.QkvProjection(in, {.q = attn + "q_proj",
                                        .k = attn + "k_proj",
                                        .v = attn + "v_proj",
                                        .fused = attn + "qkv_proj",
                                        .heads = {.q = c.heads, .kv = c.heads, .dim = c.head_dim},
                                        .order = GraphBuilder::FusedOrder::kGroups});
  BufferId mixed = b.LightningAttention(qkv, Decays(c, layer), c.act);
  mixed = b.WidthNormOfSlices(mixed, {.name = attn + "norm", .eps = 1e-6f}, c.head_dim);
  b.Multiply(mixed, b.ColumnParallel(in, {{.name = attn + "output_gate", .n = width, .shard_unit = c.head_dim}}),
             Activation::kSigmoid);
  return b.RowParallel(mixed, {attn + "out_proj", c.hidden}, width, c.head_dim);
}

Result<DecoderOptions> MinimaxOptions(const ModelConfig& c) {
  NIBBLE_TRY(const std::vector<bool> linear, LayersOfKind(c, "linear_attention", [](int64_t layer) { return layer % 2 != 0; }));
  NIBBLE_TRY(DecoderOptions o, HybridOptions(c));
  const auto factors = [&](const std::string& block) -> Result<DecoderOptions::NormedResidual> {
    NIBBLE_TRY_IN(c.where, const double kept, JsonNumber(c.json, block + "_alpha_factor", 1.0));
    NIBBLE_TRY_IN(c.where, const double added, JsonNumber(c.json, block + "_beta_factor", 1.0));
    return DecoderOptions::NormedResidual{static_cast<float>(kept), static_cast<float>(added)};
  };
  NIBBLE_TRY(const auto of_linear, factors("linear_attn"));
  NIBBLE_TRY(const auto of_full, factors("full_attn"));
  NIBBLE_TRY(const auto of_mlp, factors("mlp"));
  o.normed_residual = [=](int64_t layer, bool mlp) {
    return mlp ? of_mlp : linear[static_cast<size_t>(layer)] ? of_linear : of_full;
  };
  o.mixer = [=](GraphBuilder& b, BufferId in, int64_t layer, const std::string& prefix) -> Result<BufferId> {
    if (!linear[static_cast<size_t>(layer)]) return -1;
    return Lightning(c, b, in, layer, prefix + "self_attn.");
  };
  o.mixer_modules = [=](int64_t layer) -> std::vector<std::string> {
    if (!linear[static_cast<size_t>(layer)]) return {};
    return {"self_attn.qkv_proj", "self_attn.output_gate"};
  };
  MoeBlock moe;
  moe.spec.hidden = c.hidden;
  moe.spec.inter = c.inter;
  moe.spec.gate = {c.act};
  moe.mlp = "block_sparse_moe.";
  moe.other_mlp = "mlp.";
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  o.mlp = MoeMlp(std::move(moe));
  return o;
}

}  // namespace

const Architecture* minimax_architecture() {
  // Files carry the powers of the decays for one block size.
  static const Architecture architecture = MakeDecoder<MinimaxOptions>(
      "minimax", {"minimax"},
      R"({"rope_theta": 1000000, "rms_norm_eps": 1e-5, "num_experts": 8, "num_experts_per_tok": 2, "num_key_value_heads": 8})",
      {"rotary_emb.inv_freq", "slope_rate", "query_decay", "key_decay", "diagonal_decay"});
  return &architecture;
}

}  // namespace nibble
