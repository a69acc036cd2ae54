// SPDX-License-Identifier: Apache-2.0
// MPT: ALiBi, layer norms without bias, q, k, v in one module and clamped, ungated GELU.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> MptOptions(const ModelConfig& c) {
  const Json* found = JsonFind(c.json, "attn_config");
  const Json attn = found ? *found : Json::object();
  NIBBLE_TRY_IN(c.where, const bool alibi, JsonBool(attn, "alibi", true));
  NIBBLE_TRY_IN(c.where, const bool head_norm, JsonBool(attn, "qk_ln", false));
  NIBBLE_TRY_IN(c.where, const double clip, JsonNumber(attn, "clip_qkv", 0.0));
  NIBBLE_TRY_IN(c.where, const double scale, JsonNumber(attn, "softmax_scale", 0.0));
  NIBBLE_TRY_IN(c.where, const int64_t bias_max, JsonInt(attn, "alibi_bias_max", 8));
  if (!alibi || head_norm) return Unsupported("{}: attn_config with alibi false or qk_ln true is not built", c.where);
  DecoderOptions o;
  o.norm = {.eps = c.norm_eps, .rms = false};
  o.gated = false;
  o.clip_qkv = static_cast<float>(clip);
  o.attention = [slopes = AlibiSlopes(c.heads, bias_max), scale](int64_t, GraphBuilder::AttentionOptions* a) {
    a->slopes = slopes;
    a->scale = static_cast<float>(scale);
  };
  o.names = {.embed = "transformer.wte",
             .layers = "transformer.blocks",
             .final_norm = "transformer.norm_f",
             .attn = "attn.",
             .qkv = "Wqkv",
             .o = "out_proj",
             .mlp = "ffn.",
             .up = "up_proj",
             .down = "down_proj",
             .attn_in = "norm_1",
             .mlp_in = "norm_2"};
  return o;
}

}  // namespace

const Architecture* mpt_architecture() {
  static const Architecture architecture =
      MakeDecoder<MptOptions>("mpt", {"mpt"}, R"({"hidden_act": "gelu", "rms_norm_eps": 1e-5, "tie_word_embeddings": true})", {});
  return &architecture;
}

}  // namespace nibble
