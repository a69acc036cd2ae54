// SPDX-License-Identifier: Apache-2.0
// Solar Open: Llama's attention without a bias on its output; experts as in GLM 4.5 in every layer.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> SolarOpenOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.theta = 1e6}));
  o.o_bias = false;
  ModelConfig sparse = c;  // older files name a number of dense layers that the model never had
  sparse.json.erase("first_k_dense_replace");
  NIBBLE_TRY(const MoeBlock moe, DeepseekMoe(sparse));
  o.mlp = MoeMlp(moe);
  return o;
}

}  // namespace

const Architecture* solar_open_architecture() {
  static const Architecture architecture = MakeDecoder<SolarOpenOptions>(
      "solar_open", {"solar_open"},
      R"({"rms_norm_eps": 1e-5, "head_dim": 128, "num_key_value_heads": 8, "num_experts": 128, "num_experts_per_tok": 8,
          "moe_intermediate_size": 1280, "n_shared_experts": 1})");
  return &architecture;
}

}  // namespace nibble
