// SPDX-License-Identifier: Apache-2.0
// Qwen 3 MoE: Qwen 3's attention; experts in every decoder_sparse_step-th layer that mlp_only_layers does not name; softmax over
// all experts, the best top_k, renormalized when norm_topk_prob says so.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Qwen3MoeOptions(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const bool use_window, JsonBool(c.json, "use_sliding_window", false));
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [=](int64_t) { return use_window; }));
  o.qk_norm = DecoderOptions::kHead;
  MoeBlock moe{.spec = {.hidden = c.hidden, .gate = {c.act}}};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  NIBBLE_TRY_IN(c.where, moe.spec.inter, JsonInt(c.json, "moe_intermediate_size", 768));
  NIBBLE_TRY_IN(c.where, moe.spec.renormalize, JsonBool(c.json, "norm_topk_prob", false));
  if (moe.spec.inter < 1) return Corrupt("{}: moe_intermediate_size is {}, wanted a positive number", c.where, moe.spec.inter);
  NIBBLE_TRY(const std::vector<bool> sparse, SparseLayers(c));
  moe.has = [sparse](int64_t layer) { return sparse[static_cast<size_t>(layer)]; };
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* qwen3_moe_architecture() {
  static const Architecture architecture =
      MakeDecoder<Qwen3MoeOptions>("qwen3_moe", {"qwen3_moe"}, R"({"num_experts": 128, "num_experts_per_tok": 8})");
  return &architecture;
}

}  // namespace nibble
