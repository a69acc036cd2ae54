// SPDX-License-Identifier: Apache-2.0
// Which strips of a linear layer a worker runs: its own share from the front, then what others have left, from the back. A worker
// that the system held up, or that got less of the memory's bandwidth, is helped instead of waited for. Sums do not depend on who
// runs a strip, so neither do results.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/math.h"

namespace nibble {

class StripQueue {
 public:
  // What is worth asking for with one row of x: kernels read so many strips side by side.
  static constexpr int64_t kOneRow = 4;

  explicit StripQueue(int workers) : slots_(static_cast<size_t>(workers)) {}

  // Every worker begins the same layers in the same order, a barrier after each.
  void Begin(int worker, int64_t strips);
  // The next strips of the layer for `worker`: at most `most`, and (but for two) at most half of what is left of its share, so that
  // nobody waits long for the last piece. Empty: there are none left.
  Range Next(int worker, int64_t most);

 private:
  // What is left of a share, in one word: layer (16 bits), begin, end (24 bits each). A share of an earlier layer is one whose
  // owner has not begun: whoever comes first writes the new one.
  struct alignas(64) Slot {
    std::atomic<uint64_t> left{0};
    uint16_t layer = 0;  // these two are the owner's
    int64_t strips = 0;
  };

  Range Take(const Slot& mine, int whose, int64_t most, bool front);

  std::vector<Slot> slots_;
};

}  // namespace nibble
