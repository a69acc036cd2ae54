// SPDX-License-Identifier: Apache-2.0
// DeepSeek V2 and V2 Lite: latent attention; experts by softmax, the best of all or of the best groups, beside shared ones, after
// the first dense layers.
#include "models/mla.h"

namespace nibble {
namespace {

Result<MoeBlock> DeepseekV2Experts(const ModelConfig& config) {
  NIBBLE_TRY_IN(config.where, const std::string scores, JsonString(config.json, "scoring_func", "softmax"));
  NIBBLE_TRY_IN(config.where, const std::string choice, JsonString(config.json, "topk_method", "greedy"));
  if (scores != "softmax") return Unsupported("{}: scoring_func \"{}\" (known here: softmax)", config.where, scores);
  const bool by_groups = choice == "group_limited_greedy";
  if (!by_groups && choice != "greedy")
    return Unsupported("{}: topk_method \"{}\" (known here: greedy, group_limited_greedy)", config.where, choice);
  ModelConfig c = config;
  if (!by_groups) c.json["n_group"] = c.json["topk_group"] = 1;
  NIBBLE_TRY(MoeBlock moe, DeepseekMoe(c));
  moe.spec.router = RouterKind::kSoftmaxTopK;
  moe.spec.group_by_two = false;
  moe.spec.renormalize = false;  // norm_topk_prob is false in every published config, and the library reads it no more
  moe.choice_bias = "";
  return moe;
}

Result<DecoderOptions> DeepseekV2Options(const ModelConfig& c) {
  ModelConfig pairs = c;
  pairs.json.erase("rope_interleave");
  NIBBLE_TRY(DecoderOptions o, MlaOptions(pairs));
  NIBBLE_TRY(const MoeBlock moe, DeepseekV2Experts(c));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* deepseek_v2_architecture() {
  static const Architecture architecture = MakeDecoder<DeepseekV2Options>(
      "deepseek_v2", {"deepseek_v2"},
      R"({"head_dim": 64, "num_experts": 64, "num_experts_per_tok": 6, "moe_intermediate_size": 1407, "n_shared_experts": 2})");
  return &architecture;
}

}  // namespace nibble
