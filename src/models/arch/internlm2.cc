// SPDX-License-Identifier: Apache-2.0
// InternLM 2 and 2.5: Llama under other names, with the q heads, the k and the v of one group after another in one module.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Internlm2Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_TRY_IN(c.where, const bool bias, JsonBool(c.json, "bias", true));
  o.qkv_bias = o.o_bias = bias;
  o.qkv_order = GraphBuilder::FusedOrder::kGroups;
  o.names = {.embed = "model.tok_embeddings",
             .head = "output",
             .attn = "attention.",
             .qkv = "wqkv",
             .o = "wo",
             .mlp = "feed_forward.",
             .gate = "w1",
             .up = "w3",
             .gate_up = "",
             .down = "w2",
             .attn_in = "attention_norm",
             .mlp_in = "ffn_norm"};
  return o;
}

}  // namespace

const Architecture* internlm2_architecture() {
  static const Architecture architecture = MakeDecoder<Internlm2Options>("internlm2", {"internlm2"});
  return &architecture;
}

}  // namespace nibble
