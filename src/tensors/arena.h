// SPDX-License-Identifier: Apache-2.0
// Buffers one behind the other in larger ones. A Buffer of its own ends in the middle of a 2 MiB page on average, which a model of
// a hundred layers of some MiB pays for with a sixth of its size (random 1 B Q4_0, a prompt of 512: 808 MiB at the peak, 717 in an
// arena).
#pragma once

#include <memory>
#include <mutex>

#include "tensors/tensor_view.h"

namespace nibble {

class Arena {
 public:
  // Zeroed bytes, aligned to 64. They live as long as the pointer or another one from the same block does, not as the arena.
  // Thread-safe. Throws std::bad_alloc.
  std::shared_ptr<std::byte> Take(int64_t size_bytes);

 private:
  static constexpr int64_t kBlockBytes = 64 << 20;

  std::mutex mutex_;
  std::shared_ptr<Buffer> block_;
  int64_t used_ = 0;
};

}  // namespace nibble
