// SPDX-License-Identifier: Apache-2.0
// Multi-head latent attention (DeepSeek V2, arXiv 2405.04434): queries come out of a narrow latent or straight from x; keys and
// values of all heads out of another, [kv_lora_rank], beside one rotated key that every head shares.
//
//   q_h = q_b(norm(q_a(x)))_h or q_proj(x)_h, its last qk_rope_head_dim dimensions rotated
//   c, r = kv_a_proj_with_mqa(x);  k_h = W_k,h norm(c), v_h = W_v,h norm(c) (rows of kv_b_proj);  a head's key is (k_h, rotated r)
//
// Neither is computed: q_h . k_h = (q_h W_k,h) . norm(c), and W_v,h is applied to what attention takes of the latents. So the cache
// holds one row (norm(c), rotated r) a position for all heads. Heads are cut over ranks, latents are computed by each.
#pragma once

#include "models/decoder.h"

namespace nibble {

struct MlaDefaults {
  int64_t q_rank = 1536;  // where the config does not speak of q_lora_rank; null there means that there is no latent of q
  bool interleaved = true;
};

// UsualOptions with this attention, by the keys q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim and
// rope_interleave. Never reads head_dim, which means different things in different versions of these configs.
Result<DecoderOptions> MlaOptions(const ModelConfig& config, const MlaDefaults& defaults = {});

}  // namespace nibble
