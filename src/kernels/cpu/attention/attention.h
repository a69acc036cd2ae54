// SPDX-License-Identifier: Apache-2.0
// Attention of any number of queries that read the same keys and values, over stretches of kStretch positions that begin at
// multiples of kStretch. A stretch gives each query a partial softmax; stretches are folded together in order. All sums depend on
// positions alone, so a query's result does not depend on which other queries, chunks of a prompt or threads it was computed with,
// nor on the instruction set.
//
//   s_t = softcap(scale * q . k_t) + slope * (t - last)
//   of a stretch: m = max s_t,  l = sum exp(s_t - m),  o = sum exp(s_t - m) v_t
//   fold: m' = max(m1, m2),  l = l1 exp(m1 - m') + l2 exp(m2 - m'),  o likewise;  at the end o / l
//
// Keys of a page lie transposed, so that a vector holds sixteen positions and no dot product ends in a sum over lanes:
//   k page [k_dim][kPageTokens], v page [kPageTokens][v_dim]; k_dim, v_dim are multiples of 16, zero padded
// With row_scale the elements of a row are multiplied by one f32, [kPageTokens] of them behind a page's elements: s_t by that of
// k_t, exp(s_t - m) in o by that of v_t.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/math.h"
#include "tensors/dtype.h"

namespace nibble {

inline constexpr int64_t kPageTokens = 32;  // positions of a page of the K/V cache
inline constexpr int64_t kStretch = 256;    // positions, pages * kPageTokens
inline constexpr int64_t kStretchPages = kStretch / kPageTokens;

// Running or partial softmax of some queries.
struct AttentionSums {
  float* max;  // [queries]
  float* sum;  // [queries]
  float* out;  // [queries][v_dim]
};

struct AttentionStretch {
  int64_t queries = 0;
  const float* q = nullptr;           // [queries][k_dim]
  const void* k[kStretchPages] = {};  // pages that hold `slots`; the others may be null
  const void* v[kStretchPages] = {};
  const void* next_k[kStretchPages] = {};  // pages of keys that will be read after this stretch: fetched ahead; null: none
  Range slots;                             // of the stretch: what some query sees; not empty
  const Range* seen = nullptr;             // by query, within `slots`; may be empty
  int64_t k_dim = 0, v_dim = 0;            // padded
  DType dtype = DType::kF32;               // of k and v: f32, f16, bf16, e4m3, e5m2, i8
  bool row_scale = false;
  float scale = 1, softcap = 0;   // scale: also of the codes of k; softcap 0: none
  const float* slopes = nullptr;  // ALiBi, by query; null: none
  const int64_t* last = nullptr;  // with slopes: position of each query, counted from the stretch's first
  float* scratch = nullptr;       // ScratchFloats, 64-byte aligned: what straddles cache lines is read at half the speed
  static int64_t ScratchFloats(int64_t queries, int64_t k_dim, int64_t v_dim) {
    return queries * kStretch + (k_dim + v_dim) * kStretch;
  }
};

struct AttentionKernels {
  // Writes the partial softmax of the stretch. A query that sees nothing has max -inf, sum 0 and out 0.
  void (*stretch)(const AttentionStretch& stretch, const AttentionSums& partial);
  // into = into and partial together.
  void (*fold)(const AttentionSums& into, const AttentionSums& partial, int64_t queries, int64_t v_dim);
  // out[0, width) = sums' out / (sum + exp(sink - max)) * v_scale, of query `query`. sink: null for none.
  void (*finish)(const AttentionSums& sums, int64_t query, int64_t v_dim, const float* sink, float v_scale, int64_t width,
                 float* out);
};

// The best table for the machine's instruction set.
const AttentionKernels& AttentionFor(Isa isa);

const AttentionKernels& AttentionScalar();
const AttentionKernels& AttentionAvx2();
const AttentionKernels& AttentionAvx512();

}  // namespace nibble
