// SPDX-License-Identifier: Apache-2.0
// Qwen 1.5 and 2 MoE: Qwen 2's attention; experts beside a shared MLP behind a gate, in the layers that decoder_sparse_step and
// mlp_only_layers say; softmax over all experts, mostly not renormalized.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Qwen2MoeOptions(const ModelConfig& c) {
  NIBBLE_TRY_IN(c.where, const bool use_window, JsonBool(c.json, "use_sliding_window", false));
  NIBBLE_TRY_IN(c.where, const int64_t first, JsonInt(c.json, "max_window_layers", 28));
  NIBBLE_TRY_IN(c.where, const bool bias, JsonBool(c.json, "qkv_bias", true));
  const auto slides = [=](int64_t layer) { return use_window && layer % 2 == 0 && layer < first; };
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, slides));
  o.qkv_bias = bias;
  o.o_bias = false;
  MoeBlock moe{.spec = {.hidden = c.hidden, .gate = {c.act}}, .shared = "shared_expert", .shared_gate = "shared_expert_gate"};
  NIBBLE_RETURN_IF_ERROR(CountExperts(c, &moe.spec));
  NIBBLE_TRY_IN(c.where, moe.spec.inter, JsonInt(c.json, "moe_intermediate_size", 1408));
  NIBBLE_TRY_IN(c.where, moe.shared_inter, JsonInt(c.json, "shared_expert_intermediate_size", 5632));
  NIBBLE_TRY_IN(c.where, moe.spec.renormalize, JsonBool(c.json, "norm_topk_prob", false));
  if (moe.spec.inter < 1 || moe.shared_inter < 1) return Corrupt("{}: expert sizes must be positive", c.where);
  NIBBLE_TRY(const std::vector<bool> sparse, SparseLayers(c));
  moe.has = [sparse](int64_t layer) { return sparse[static_cast<size_t>(layer)]; };
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* qwen2_moe_architecture() {
  static const Architecture architecture =
      MakeDecoder<Qwen2MoeOptions>("qwen2_moe", {"qwen2_moe"}, R"({"num_experts": 60, "num_experts_per_tok": 4})");
  return &architecture;
}

}  // namespace nibble
