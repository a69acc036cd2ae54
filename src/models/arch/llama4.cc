// SPDX-License-Identifier: Apache-2.0
// Llama 4 (text): three layers that see their own chunk and are rotated in pairs, then one that sees everything, is not rotated and
// scales its queries by position; rotated q and k normed; every interleave_moe_layer_step-th layer has experts, which read x times
// their weight.
#include <algorithm>

#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Llama4Options(const ModelConfig& c) {
  ModelConfig plain = c;
  plain.json.erase("layer_types");
  NIBBLE_TRY(DecoderOptions o, UsualOptions(plain));
  NIBBLE_TRY(RopeSpec rope, RopeFromConfig(c, c.head_dim, {.interleaved = true}));
  NIBBLE_TRY_IN(c.where, const int64_t chunk, JsonInt(c.json, "attention_chunk_size", 8192));
  NIBBLE_TRY_IN(c.where, const int64_t interval, JsonInt(c.json, "no_rope_layer_interval", 4));
  NIBBLE_TRY_IN(c.where, const int64_t step, JsonInt(c.json, "interleave_moe_layer_step", 1));
  NIBBLE_TRY_IN(c.where, const bool head_norm, JsonBool(c.json, "use_qk_norm", true));
  NIBBLE_TRY_IN(c.where, const bool tuned, JsonBool(c.json, "attn_temperature_tuning", true));
  NIBBLE_TRY_IN(c.where, const double tune_scale, JsonNumber(c.json, "attn_scale", 0.1));
  NIBBLE_TRY_IN(c.where, const double tune_floor, JsonNumber(c.json, "floor_scale", 8192.0));
  NIBBLE_TRY_IN(c.where, o.dense_inter, JsonInt(c.json, "intermediate_size_mlp", 16384));
  if (chunk < 1 || tune_floor < 1 || o.dense_inter < 1)
    return Corrupt("{}: attention_chunk_size, floor_scale and intermediate_size_mlp must be positive", c.where);
  std::vector<bool> rotated, sparse;
  const Json *no_rope = JsonFind(c.json, "no_rope_layers"), *moe_layers = JsonFind(c.json, "moe_layers");
  for (int64_t i = 0; i < c.layers; ++i) {
    const bool listed = no_rope && no_rope->is_array() && i < static_cast<int64_t>(no_rope->size());
    rotated.push_back(listed ? (*no_rope)[static_cast<size_t>(i)] != 0 : interval <= 0 || (i + 1) % interval != 0);
    if (moe_layers && moe_layers->is_array())
      sparse.push_back(std::find(moe_layers->begin(), moe_layers->end(), i) != moe_layers->end());
    else
      sparse.push_back(step > 0 && (i + 1) % step == 0);
  }
  o.rope = RopeWhere(std::move(rope), [rotated](int64_t layer) { return rotated[static_cast<size_t>(layer)]; });
  if (head_norm) o.qk_norm = DecoderOptions::kHead;
  o.norm_where = o.rope;
  o.norm_after_rope = true;
  o.head_norm.has_weight = false;
  o.attention = [=](int64_t layer, GraphBuilder::AttentionOptions* a) {
    if (rotated[static_cast<size_t>(layer)])
      a->chunk = chunk;
    else if (tuned)
      a->temperature = {.scale = static_cast<float>(tune_scale), .period = static_cast<int64_t>(tune_floor), .shift = 1};
  };
  o.names.mlp = "feed_forward.";
  MoeBlock moe{.spec = {.stacked_transposed = true,
                        .hidden = c.hidden,
                        .inter = c.inter,
                        .router = RouterKind::kSigmoidTopK,
                        .renormalize = false,
                        .scale_input = true,
                        .gate = {c.act}},
               .mlp = "feed_forward.",
               .router = "router",
               .shared = "shared_expert",
               .shared_inter = c.inter};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  moe.has = [sparse](int64_t layer) { return sparse[static_cast<size_t>(layer)]; };
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* llama4_architecture() {
  static const Architecture architecture = MakeDecoder<Llama4Options>(
      "llama4", {"llama4_text"},
      R"({"rms_norm_eps": 1e-5, "rope_theta": 500000, "head_dim": 128, "num_experts": 16, "num_experts_per_tok": 1, "intermediate_size": 8192})");
  return &architecture;
}

}  // namespace nibble
