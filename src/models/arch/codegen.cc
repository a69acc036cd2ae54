// SPDX-License-Identifier: Apache-2.0
// CodeGen: GPT-J with q, v and k of each quarter of the heads, in this order, side by side in one module.
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> CodegenOptions(const ModelConfig& c) {
  if (c.heads % 4 != 0) return Corrupt("{}: {} heads in four equal parts; wanted a multiple of 4", c.where, c.heads);
  NIBBLE_TRY(DecoderOptions o, GptjOptions(c));
  o.qkv_order = GraphBuilder::FusedOrder::kQvkQuarters;
  return o;
}

}  // namespace

const Architecture* codegen_architecture() {
  static const Architecture architecture =
      MakeDecoder<CodegenOptions>("codegen", {"codegen"}, R"({"hidden_act": "gelu_new", "rms_norm_eps": 1e-5})",
                                  {".causal_mask", "attn.bias", "attn.masked_bias", "rotary_emb.inv_freq", "attn.embed_positions"});
  return &architecture;
}

}  // namespace nibble
