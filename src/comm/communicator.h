// SPDX-License-Identifier: Apache-2.0
// Talk between the ranks of one model. Sums are taken in rank order, so results do not depend on timing.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace nibble {

// One rank's end. Every rank must make the same calls in the same order; each call returns when its own result is there.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;
  // data[i] = sum over ranks of their data[i].
  virtual void AllReduceSum(float* data, int64_t count) = 0;
  // out [rows, sum of widths]: the ranks' in [rows, width] side by side, in rank order. Widths may differ between ranks.
  virtual void AllGather(const float* in, int64_t rows, int64_t width, float* out) = 0;
};

// Communicators of `ranks` ranks inside this process, one for each rank's thread.
std::vector<std::unique_ptr<Communicator>> MakeThreadCommunicators(int ranks);

}  // namespace nibble
