// SPDX-License-Identifier: Apache-2.0
// The in-process back-end: ranks publish a pointer, meet, read each other's memory, meet again.
#include <atomic>
#include <cstring>

#include "comm/communicator.h"

namespace nibble {
namespace {

struct Shared {
  explicit Shared(int count) : ranks(count), in(static_cast<size_t>(count)), widths(static_cast<size_t>(count)) {}

  void Meet() {
    const uint32_t phase = phases.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(ranks)) {
      arrived.store(0, std::memory_order_relaxed);
      phases.fetch_add(1, std::memory_order_release);
      phases.notify_all();
    } else {
      while (phases.load(std::memory_order_acquire) == phase) phases.wait(phase, std::memory_order_acquire);
    }
  }

  const int ranks;
  std::vector<const float*> in;
  std::vector<int64_t> widths;
  std::atomic<uint32_t> arrived{0}, phases{0};
};

class ThreadCommunicator : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Shared> shared, int rank) : shared_(std::move(shared)), rank_(rank) {}
  int rank() const override { return rank_; }
  int ranks() const override { return shared_->ranks; }

  void AllReduceSum(float* data, int64_t count) override {
    shared_->in[static_cast<size_t>(rank_)] = data;
    sum_.resize(static_cast<size_t>(count));
    shared_->Meet();
    std::memcpy(sum_.data(), shared_->in[0], static_cast<size_t>(count) * sizeof(float));
    for (size_t r = 1; r < shared_->in.size(); ++r)
      for (int64_t i = 0; i < count; ++i) sum_[static_cast<size_t>(i)] += shared_->in[r][i];
    shared_->Meet();  // nobody reads `data` any more
    std::memcpy(data, sum_.data(), static_cast<size_t>(count) * sizeof(float));
  }

  void AllGather(const float* in, int64_t rows, int64_t width, float* out) override {
    shared_->in[static_cast<size_t>(rank_)] = in;
    shared_->widths[static_cast<size_t>(rank_)] = width;
    shared_->Meet();
    int64_t total = 0;
    for (const int64_t w : shared_->widths) total += w;
    int64_t begin = 0;
    for (size_t r = 0; r < shared_->in.size(); ++r) {
      const int64_t w = shared_->widths[r];
      for (int64_t row = 0; row < rows; ++row)
        std::memcpy(out + row * total + begin, shared_->in[r] + row * w, static_cast<size_t>(w) * sizeof(float));
      begin += w;
    }
    shared_->Meet();
  }

 private:
  std::shared_ptr<Shared> shared_;
  const int rank_;
  std::vector<float> sum_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> MakeThreadCommunicators(int ranks) {
  auto shared = std::make_shared<Shared>(ranks);
  std::vector<std::unique_ptr<Communicator>> all;
  for (int rank = 0; rank < ranks; ++rank) all.push_back(std::make_unique<ThreadCommunicator>(shared, rank));
  return all;
}

}  // namespace nibble
