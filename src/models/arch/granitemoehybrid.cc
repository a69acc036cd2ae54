// SPDX-License-Identifier: Apache-2.0
// Granite 4: attention, and in the larger ones Mamba-2, which this build lacks; experts beside a shared MLP, or that MLP alone.
#include "models/blocks.h"

namespace nibble {
namespace {

// layer_types names "mamba" and "attention"; without it (layers_block_type in older files) all are mamba.
Status RefuseMamba(const ModelConfig& c) {
  const Json* types = JsonFind(c.json, "layer_types");
  if (!types) types = JsonFind(c.json, "layers_block_type");
  for (int64_t i = 0; i < c.layers; ++i) {
    const auto at = static_cast<size_t>(i);
    const bool listed = types && types->is_array() && at < types->size() && (*types)[at].is_string();
    const std::string type = listed ? (*types)[at].get<std::string>() : "mamba";
    if (type != "attention" && type != "full_attention")
      return Unsupported("{}: layer {} is of kind {}; this build has no Mamba-2 layers, only attention", c.where, i, type);
  }
  return {};
}

Result<DecoderOptions> GranitemoehybridOptions(const ModelConfig& c) {
  NIBBLE_RETURN_IF_ERROR(RefuseMamba(c));
  ModelConfig plain = c;
  plain.json.erase("layer_types");
  NIBBLE_TRY(DecoderOptions o, UsualOptions(plain));
  NIBBLE_RETURN_IF_ERROR(AddGraniteMultipliers(c, &o));
  NIBBLE_TRY_IN(c.where, const std::string positions, JsonString(c.json, "position_embedding_type", "rope"));
  if (positions != "rope") o.rope = nullptr;  // "nope"
  NIBBLE_TRY(o.mlp, GraniteMoeMlp(c));
  return o;
}

}  // namespace

const Architecture* granitemoehybrid_architecture() {
  static const Architecture architecture =
      MakeDecoder<GranitemoehybridOptions>("granitemoehybrid", {"granitemoehybrid"},
                                           R"({"num_experts": 8, "num_experts_per_tok": 2, "shared_intermediate_size": 1024})");
  return &architecture;
}

}  // namespace nibble
