// SPDX-License-Identifier: Apache-2.0
// What a layer keeps of the tokens it has seen. A model file declares it; the cache allocates it; prefix sharing asks it.
#pragma once

#include <cstdint>

#include "tensors/dtype.h"

namespace nibble {

enum class StateKind : uint8_t {
  kPagedKv,      // keys and values of every position, or of the last `window`
  kLatent,       // one row a position (MLA): K is the row, V its first v_dim elements
  kRecurrent,    // a matrix that every token rewrites
  kConvolution,  // the last few inputs: one head, [inputs kept, channels]
};

// Nothing is kept by position: every token rewrites the state (StateSlots).
constexpr bool IsRewritten(StateKind kind) { return kind == StateKind::kRecurrent || kind == StateKind::kConvolution; }
// Rows of a position can be shared between sequences that begin alike; a rewritten state cannot.
constexpr bool CanSharePrefix(StateKind kind) { return !IsRewritten(kind); }

struct LayerState {
  StateKind kind = StateKind::kPagedKv;
  int64_t heads = 0;             // kv heads, or matrices of a rewritten state
  int64_t k_dim = 0, v_dim = 0;  // elements of a head
  int64_t window = 0;            // 0: everything
  // Elements of a head as stored: whole vectors of 16, zero padded.
  int64_t k_stride() const { return (k_dim + 15) / 16 * 16; }
  int64_t v_stride() const { return (v_dim + 15) / 16 * 16; }
  bool operator==(const LayerState&) const = default;
};

}  // namespace nibble
