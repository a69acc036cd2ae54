// SPDX-License-Identifier: Apache-2.0
// Blocks that related families share, each said once.
#pragma once

#include "models/decoder.h"

namespace nibble {

// Gemma 2 and 3: norms by 1 + w before and after attention and MLP, embeddings times sqrt(hidden), soft caps, scores scaled by
// query_pre_attn_scalar.
Status AddGemmaBlocks(const ModelConfig& config, DecoderOptions* options);
// Gemma 3, OLMo 3: layers that slide turn by rope_parameters.sliding_attention, or unscaled by `theta` where the config has but one
// rope.
Status AddWindowRope(const ModelConfig& config, double theta, DecoderOptions* options);
// Granite's multipliers of embeddings, residuals, scores and logits.
Status AddGraniteMultipliers(const ModelConfig& config, DecoderOptions* options);
// Its experts (none with num_local_experts 0) and beside them an MLP for all rows (none with shared_intermediate_size 0). For
// DecoderOptions::mlp.
Result<decltype(DecoderOptions::mlp)> GraniteMoeMlp(const ModelConfig& config);
// Granite with those experts.
Result<DecoderOptions> GraniteMoeOptions(const ModelConfig& config);
// GPT-2 and BigCode: learned positions, layer norms and biases; the same names.
Result<DecoderOptions> Gpt2Options(const ModelConfig& config);
// GPT-J and CodeGen: attention and an ungated MLP side by side on one layer norm, rotary_dim of each head rotated in pairs.
Result<DecoderOptions> GptjOptions(const ModelConfig& config);
// EXAONE 4: norms after attention and MLP alone and of q and k heads; where some layers slide only those are rotated.
Result<DecoderOptions> Exaone4Options(const ModelConfig& config);
// HunYuan: norms of q and k heads after the rotation.
Result<DecoderOptions> HunyuanOptions(const ModelConfig& config);
// OLMo 2 and 3: norms after attention and MLP, none before; norms of all q heads and all k heads as one row.
void AddOlmoNorms(DecoderOptions* options);

}  // namespace nibble
