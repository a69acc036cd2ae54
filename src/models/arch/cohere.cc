// SPDX-License-Identifier: Apache-2.0
// Command R: attention and MLP side by side on one layer norm without bias, rotated in pairs, logits scaled.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> CohereOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.theta = 500000, .interleaved = true}));
  NIBBLE_TRY_IN(c.where, const double logit_scale, JsonNumber(c.json, "logit_scale", 0.0625));
  NIBBLE_TRY_IN(c.where, const bool head_norm, JsonBool(c.json, "use_qk_norm", false));
  o.norm.rms = false;
  o.head_norm = o.norm;
  o.head_norm.per_head = true;
  if (head_norm) o.qk_norm = DecoderOptions::kHead;
  o.parallel = true;
  o.names.mlp_in = "";
  o.head.scale = static_cast<float>(logit_scale);
  return o;
}

}  // namespace

const Architecture* cohere_architecture() {
  static const Architecture architecture =
      MakeDecoder<CohereOptions>("cohere", {"cohere"}, R"({"rms_norm_eps": 1e-5, "tie_word_embeddings": true})");
  return &architecture;
}

}  // namespace nibble
