// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/architecture.h"

namespace nibble {
namespace {

Status Starcoder2Bias(const GgufReader& reader, Json* config) {
  (*config)["use_bias"] = reader.HasTensor("blk.0.ffn_up.bias");
  return {};
}

}  // namespace

std::span<const GgufArchitecture> starcoder2_gguf() {
  static const GgufArchitecture rows[] = {
      {.name = "starcoder2",
       .model_type = "starcoder2",
       .hub_class = "Starcoder2ForCausalLM",
       .layer_norm = true,
       .names = {{"ffn_up", "mlp.c_fc"}, {"ffn_down", "mlp.c_proj"}},
       .config = R"({"hidden_act": "gelu_pytorch_tanh"})",
       .read = Starcoder2Bias},
  };
  return rows;
}

}  // namespace nibble
