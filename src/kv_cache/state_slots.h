// SPDX-License-Identifier: Apache-2.0
// What layers with a rewritten state (recurrent, convolution) keep of each running sequence: one slot of f32 numbers a layer,
// beside the pages of the paged cache. A slot's contents are nobody's until its sequence computes position 0, which begins with
// zeros; so a sequence that was sent back and is computed again needs nothing undone.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "kv_cache/layer_state.h"
#include "tensors/tensor_view.h"

namespace nibble {

class StateSlots {
 public:
  // Reserves address space for `sequences` slots of every layer whose state is rewritten. ResourceExhausted if that fails.
  static Result<StateSlots> Make(const std::vector<LayerState>& layers, int64_t sequences);
  // Of one sequence in one layer; 0 where the layer keeps positions instead.
  static int64_t Bytes(const LayerState& layer);

  int64_t free_slots() const { return static_cast<int64_t>(free_.size()); }
  // -1 when none is left.
  int32_t Allocate();
  void Release(int32_t slot) { free_.push_back(slot); }
  // LayerState::heads matrices [k_dim, v_dim], one after another.
  float* At(int64_t layer, int32_t slot) {
    const size_t i = static_cast<size_t>(layer);
    return reinterpret_cast<float*>(states_[i].data() + slot * bytes_[i]);
  }

 private:
  std::vector<Buffer> states_;  // by layer; empty where positions are kept
  std::vector<int64_t> bytes_;
  std::vector<int32_t> free_;
};

}  // namespace nibble
