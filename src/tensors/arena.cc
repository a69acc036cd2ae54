// SPDX-License-Identifier: Apache-2.0
#include "tensors/arena.h"

#include <algorithm>

#include "base/math.h"

namespace nibble {

std::shared_ptr<std::byte> Arena::Take(int64_t size_bytes) {
  const std::lock_guard lock(mutex_);
  if (!block_ || used_ + size_bytes > block_->size_bytes()) {
    block_ = std::make_shared<Buffer>(std::max(size_bytes, kBlockBytes));  // pages that nobody touches take no memory
    used_ = 0;
  }
  std::byte* begin = block_->data() + used_;
  used_ += RoundUp(size_bytes, int64_t{64});
  return {block_, begin};
}

}  // namespace nibble
