// SPDX-License-Identifier: Apache-2.0
#include "kv_cache/state_slots.h"

#include <new>

namespace nibble {

int64_t StateSlots::Bytes(const LayerState& layer) {
  return IsRewritten(layer.kind) ? layer.heads * layer.k_dim * layer.v_dim * static_cast<int64_t>(sizeof(float)) : 0;
}

Result<StateSlots> StateSlots::Make(const std::vector<LayerState>& layers, int64_t sequences) {
  StateSlots slots;
  int64_t each = 0;
  for (const LayerState& layer : layers) each += slots.bytes_.emplace_back(Bytes(layer));
  try {
    for (const int64_t bytes : slots.bytes_) slots.states_.emplace_back(bytes * sequences);
  } catch (const std::bad_alloc&) {
    return Fail(Code::kResourceExhausted,
                "the states of {} sequences need {} MiB of address space and the system refused; run fewer sequences at once",
                sequences, each * sequences >> 20);
  }
  for (int64_t slot = sequences; slot-- > 0;) slots.free_.push_back(static_cast<int32_t>(slot));
  return slots;
}

int32_t StateSlots::Allocate() {
  if (free_.empty()) return -1;
  const int32_t slot = free_.back();
  free_.pop_back();
  return slot;
}

}  // namespace nibble
