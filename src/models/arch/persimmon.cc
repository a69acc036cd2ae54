// SPDX-License-Identifier: Apache-2.0
// Persimmon: layer norms of x and of every q and k head, biases everywhere, half of each head rotated, squared ReLU.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> PersimmonOptions(const ModelConfig& c) {
  NIBBLE_TRY(DecoderOptions o, UsualOptions(c, {.partial_factor = 0.5}));
  NIBBLE_TRY_IN(c.where, const bool head_norm, JsonBool(c.json, "qk_layernorm", true));
  o.norm.rms = false;
  o.norm.bias = true;
  o.head_norm = o.norm;
  o.gated = false;
  o.qkv_bias = o.o_bias = o.mlp_bias = true;
  o.qkv_order = GraphBuilder::FusedOrder::kGroups;
  if (head_norm) o.qk_norm = DecoderOptions::kHead;
  o.names.qkv = "query_key_value";
  o.names.o = "dense";
  o.names.up = "dense_h_to_4h";
  o.names.down = "dense_4h_to_h";
  o.names.q_norm = "q_layernorm";
  o.names.k_norm = "k_layernorm";
  o.names.final_norm = "model.final_layernorm";
  return o;
}

}  // namespace

const Architecture* persimmon_architecture() {
  static const Architecture architecture = MakeDecoder<PersimmonOptions>(
      "persimmon", {"persimmon"}, R"({"hidden_act": "relu2", "rms_norm_eps": 1e-5, "rope_theta": 25000})");
  return &architecture;
}

}  // namespace nibble
