// SPDX-License-Identifier: Apache-2.0
#include "kernels/strip_queue.h"

#include <algorithm>

namespace nibble {
namespace {

constexpr uint64_t kMask = (1u << 24) - 1;

uint64_t Word(uint16_t layer, Range left) {
  return uint64_t{layer} << 48 | static_cast<uint64_t>(left.begin) << 24 | static_cast<uint64_t>(left.end);
}

}  // namespace

void StripQueue::Begin(int worker, int64_t strips) {
  Slot& slot = slots_[static_cast<size_t>(worker)];
  ++slot.layer;
  slot.strips = strips;
}

Range StripQueue::Take(const Slot& mine, int whose, int64_t most, bool front) {
  std::atomic<uint64_t>& left = slots_[static_cast<size_t>(whose)].left;
  uint64_t word = left.load(std::memory_order_acquire);
  for (;;) {
    Range range{static_cast<int64_t>(word >> 24 & kMask), static_cast<int64_t>(word & kMask)};
    if (word >> 48 != mine.layer) range = SplitRange(mine.strips, whose, static_cast<int>(slots_.size()));
    const int64_t half = std::max<int64_t>(range.size() / 2, 2), count = std::min({most, half, range.size()});
    const Range taken = front ? Range{range.begin, range.begin + count} : Range{range.end - count, range.end};
    const Range rest = front ? Range{taken.end, range.end} : Range{range.begin, taken.begin};
    if (left.compare_exchange_weak(word, Word(mine.layer, rest), std::memory_order_acq_rel)) return taken;
  }
}

Range StripQueue::Next(int worker, int64_t most) {
  const Slot& mine = slots_[static_cast<size_t>(worker)];
  Range taken = Take(mine, worker, most, true);
  const int workers = static_cast<int>(slots_.size());
  for (int i = 1; i < workers && taken.empty(); ++i) taken = Take(mine, (worker + i) % workers, 1, false);
  return taken;
}

}  // namespace nibble
