// SPDX-License-Identifier: Apache-2.0
// A fixed team of worker threads that enter a region together. Within a region workers share a barrier. The caller divides the
// work by worker index (kernels/strip_queue.h lets workers help each other), so results never depend on timing.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace nibble {

class ThreadTeam {
 public:
  // Starts threads - 1 helpers; the caller of Run is worker 0. threads >= 1.
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return size_; }

  // Runs body(worker) on every worker and returns when all are done. Not reentrant; one caller at a time.
  void Run(const std::function<void(int worker)>& body);

  // Inside Run only: waits until every worker has arrived. Everything written before it is visible after it.
  void Barrier();

 private:
  void Loop(int worker);

  const int size_;
  const std::function<void(int)>* body_ = nullptr;
  std::atomic<uint32_t> generation_{0};  // increases when a region begins
  std::atomic<uint32_t> running_{0};     // helpers still inside the region
  std::atomic<uint32_t> arrived_{0}, phase_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace nibble
