// SPDX-License-Identifier: Apache-2.0
// Seed-OSS: Llama with biases on q, k and v, and one on the output where attention_out_bias says so.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> SeedOssOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c));
  NIBBLE_TRY_IN(c.where, o.o_bias, JsonBool(c.json, "attention_out_bias", false));
  return o;
}

}  // namespace

const Architecture* seed_oss_architecture() {
  static const Architecture architecture = MakeDecoder<SeedOssOptions>(
      "seed_oss", {"seed_oss"}, R"({"attention_bias": true, "head_dim": 128, "num_key_value_heads": 8})");
  return &architecture;
}

}  // namespace nibble
