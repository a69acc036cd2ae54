// SPDX-License-Identifier: Apache-2.0
// What families share that mix attention with layers of another kind.
#pragma once

#include "models/decoder.h"

namespace nibble {

// Which layers are of the kind that layer_types calls `kind` ("conv", "linear_attention"), the others having full attention. Where
// the list is missing `otherwise` decides. Corrupt for a list too short, Unsupported for other kinds.
Result<std::vector<bool>> LayersOfKind(const ModelConfig& config, std::string_view kind,
                                       const std::function<bool(int64_t layer)>& otherwise);
// UsualOptions where layer_types does not speak of windows.
Result<DecoderOptions> HybridOptions(const ModelConfig& config, const RopeDefaults& rope = {});

// Qwen3-Next and 3.5: layers of the gated delta rule, each full_attention_interval-th one of attention with a gate in q_proj, q and
// k normed, a quarter of each head rotated; norms of 1 + weight. by_key_head: see GraphBuilder::DeltaNet.
Result<DecoderOptions> QwenHybridOptions(const ModelConfig& config, bool by_key_head);
// Its experts, beside a shared one behind a gate.
Result<MoeBlock> QwenHybridMoe(const ModelConfig& config);

// LFM2: layers of a short convolution, and of attention with q and k normed, as layer_types or full_attn_idxs says.
Result<DecoderOptions> Lfm2Options(const ModelConfig& config);

}  // namespace nibble
