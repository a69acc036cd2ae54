// SPDX-License-Identifier: Apache-2.0
#include "base/thread_team.h"

#include <chrono>

#include "base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace nibble {
namespace {

// Barriers of a step are some tens of microseconds apart, and waking a sleeper of a virtual machine takes as long: with 2 us a random
// 1.04 B Q4_0 model decoded 15 - 21 tokens a second where 100 us gave 22 - 23 (AMD EPYC, two threads, interleaved). Longer waits are a
// worker that lost its core, which spinning would not bring back.
constexpr auto kSpin = std::chrono::microseconds(100);

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Returns once value != old: spins for kSpin, then sleeps on the futex behind std::atomic::wait.
void WaitWhile(const std::atomic<uint32_t>& value, uint32_t old) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadTeam::ThreadTeam(int threads) : size_(threads) {
  NIBBLE_CHECK(threads >= 1, "threads {}", threads);
  for (int worker = 1; worker < size_; ++worker) helpers_.emplace_back([this, worker] { Loop(worker); });
}

ThreadTeam::~ThreadTeam() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (auto& helper : helpers_) helper.join();
}

void ThreadTeam::Loop(int worker) {
  uint32_t seen = 0;
  for (;;) {
    WaitWhile(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    (*body_)(worker);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

void ThreadTeam::Run(const std::function<void(int)>& body) {
  if (size_ == 1) return body(0);
  body_ = &body;
  running_.store(static_cast<uint32_t>(size_ - 1), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  body(0);
  for (uint32_t left = running_.load(std::memory_order_acquire); left != 0; left = running_.load(std::memory_order_acquire))
    WaitWhile(running_, left);
}

void ThreadTeam::Barrier() {
  if (size_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(size_)) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.fetch_add(1, std::memory_order_release);
    phase_.notify_all();
  } else {
    WaitWhile(phase_, phase);
  }
}

}  // namespace nibble
