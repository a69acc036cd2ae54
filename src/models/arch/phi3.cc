// SPDX-License-Identifier: Apache-2.0
// Phi 3 and 4: Llama with q, k, v in one module and gate, up in another; LongRoPE, which old configs call su or yarn.
#include "models/decoder.h"

namespace nibble {
namespace {

Result<DecoderOptions> Phi3Options(const ModelConfig& c) {
  ModelConfig named = c;
  if (Json* scaling = named.json.contains("rope_scaling") ? &named.json["rope_scaling"] : nullptr;
      scaling && scaling->is_object()) {
    const Json* kind = JsonFind(*scaling, JsonFind(*scaling, "rope_type") ? "rope_type" : "type");
    if (kind && *kind == "yarn") (*scaling)["rope_type"] = "longrope";
  }
  return UsualOptions(named, {}, [](int64_t) { return true; });
}

}  // namespace

const Architecture* phi3_architecture() {
  static const Architecture architecture =
      MakeDecoder<Phi3Options>("phi3", {"phi3"}, R"({"rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096})");
  return &architecture;
}

}  // namespace nibble
