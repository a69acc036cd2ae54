// SPDX-License-Identifier: Apache-2.0
// Ministral 3: Mistral with YaRN, whose queries grow with the logarithm of the position beyond the original length
// (rope_parameters.llama_4_scaling_beta).
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Ministral3Options(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {}, [](int64_t) { return true; }));
  const Json* found = JsonFind(c.json, "rope_parameters");
  const Json rope = found ? *found : Json::object();
  NIBBLE_TRY_IN(c.where, const double beta, JsonNumber(rope, "llama_4_scaling_beta", 0.0));
  NIBBLE_TRY_IN(c.where, const int64_t period, JsonInt(rope, "original_max_position_embeddings", c.max_positions));
  if (period < 1) return Corrupt("{}: original_max_position_embeddings is {}, wanted a positive number", c.where, period);
  o.attention = [=, windows = o.attention](int64_t layer, GraphBuilder::AttentionOptions* a) {
    windows(layer, a);
    a->temperature = {.scale = static_cast<float>(beta), .period = period};
  };
  return o;
}

}  // namespace

const Architecture* ministral3_architecture() {
  static const Architecture architecture =
      MakeDecoder<Ministral3Options>("ministral3", {"ministral3"},
                                     R"({"rms_norm_eps": 1e-5, "head_dim": 128, "num_key_value_heads": 8,
          "rope_parameters": {"type": "yarn", "rope_theta": 1000000.0, "factor": 16.0, "original_max_position_embeddings": 16384,
                              "beta_fast": 32.0, "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0,
                              "llama_4_scaling_beta": 0.1}})");
  return &architecture;
}

}  // namespace nibble
