// SPDX-License-Identifier: Apache-2.0
// HunYuan dense: Llama with norms of q and k heads after the rotation.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  o.qk_norm = DecoderOptions::kHead;
  o.norm_after_rope = true;
  o.names.q_norm = "query_layernorm";
  o.names.k_norm = "key_layernorm";
  return o;
}

}  // namespace

const Architecture* hunyuan_v1_dense_architecture() {
  static const Architecture architecture =
      MakeDecoder<Options>("hunyuan_v1_dense", {"hunyuan_v1_dense"}, R"({"rms_norm_eps": 1e-5})");
  return &architecture;
}

}  // namespace nibble
