// SPDX-License-Identifier: Apache-2.0
// GPT BigCode (StarCoder, SantaCoder): GPT-2 with one head of keys and values, products stored [n, k].
#include "models/blocks.h"

namespace nibble {
namespace {

Result<DecoderOptions> GptBigcodeOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, Gpt2Options(c));
  NIBBLE_TRY_IN(c.where, const bool one_head, JsonBool(c.json, "multi_query", true));
  const GraphBuilder::Heads heads = {.q = c.heads, .kv = one_head ? 1 : c.heads, .dim = c.head_dim};
  o.heads = [heads](int64_t) { return heads; };
  if (!one_head) o.qkv_order = GraphBuilder::FusedOrder::kGroups;
  return o;
}

}  // namespace

const Architecture* gpt_bigcode_architecture() {
  static const Architecture architecture = MakeDecoder<GptBigcodeOptions>(
      "gpt_bigcode", {"gpt_bigcode"},
      R"({"hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "max_position_embeddings": 1024})",
      {".attn.bias", ".attn.masked_bias"});
  return &architecture;
}

}  // namespace nibble
