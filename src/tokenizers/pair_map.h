// SPDX-License-Identifier: Apache-2.0
// Hash table from a pair of ids to a merge: one cache line a lookup, which is what the speed of BPE hangs on.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace nibble {

class PairMap {
 public:
  struct Merge {
    int32_t rank = kNone;  // lower is merged first
    int32_t id = -1;       // of the merged token
  };
  static constexpr int32_t kNone = INT32_MAX;

  // Makes room for `count` pairs; must be called once, before Insert.
  void Reserve(size_t count) {
    cells_.assign(std::bit_ceil(2 * count + 2), Cell{});
    mask_ = cells_.size() - 1;
  }
  // The pair's last rank counts when it is given twice.
  void Insert(int32_t left, int32_t right, Merge merge) {
    const uint64_t key = Key(left, right);
    size_t at = Slot(key);
    while (cells_[at].key != kFree && cells_[at].key != key) at = (at + 1) & mask_;
    cells_[at] = {key, merge};
  }
  // rank kNone when the pair does not merge. `left` and `right` are 0 or more.
  Merge Find(int32_t left, int32_t right) const {
    const uint64_t key = Key(left, right);
    for (size_t at = Slot(key);; at = (at + 1) & mask_) {
      if (cells_[at].key == key) return cells_[at].merge;
      if (cells_[at].key == kFree) return {};
    }
  }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  struct Cell {
    uint64_t key = kFree;
    Merge merge;
  };
  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t Slot(uint64_t key) const { return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> 24) & mask_; }

  std::vector<Cell> cells_;
  size_t mask_ = 0;
};

}  // namespace nibble
