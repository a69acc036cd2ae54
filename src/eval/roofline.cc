// SPDX-License-Identifier: Apache-2.0
#include "eval/roofline.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/cpu.h"
#include "base/math.h"
#include "base/thread_team.h"
#include "eval/seconds.h"
#include "kernels/cpu/probe/probe.h"
#include "tensors/tensor_view.h"

namespace nibble {
namespace {

// What the roofline reads: far more than the last-level cache where the machine can spare it. Written first, since pages never
// written are all the same one.
const Buffer& ProbeMemory(ThreadTeam& team) {
  static const Buffer memory = [&] {
    const int64_t wanted = std::max(int64_t{256} << 20, 2 * Cpu().l3_bytes);
    Buffer bytes(RoundUp(std::min(wanted, std::max(int64_t{64} << 20, AvailableMemoryBytes() / 4)), 4096));
    team.Run([&](int worker) {
      const Range mine = SplitRange(bytes.size_bytes(), worker, team.size(), 4096);
      std::memset(bytes.data() + mine.begin, 0x3c, static_cast<size_t>(mine.size()));
    });
    return bytes;
  }();
  return memory;
}

}  // namespace

Roofline MeasureRoofline(int threads) {
  const CpuProbe& probe = ProbeFor(Cpu().isa);
  ThreadTeam team(threads);
  const Buffer& memory = ProbeMemory(team);
  Roofline roofline{.threads = threads};
  std::atomic<float> sink{0};  // keeps the loops alive
  const auto* floats = reinterpret_cast<const float*>(memory.data());
  for (int round = 0; round < 3; ++round) {
    auto start = Clock::now();
    team.Run([&](int worker) {
      const Range mine = SplitRange(memory.size_bytes() / 4, worker, threads, 64);
      sink.store(probe.read(floats + mine.begin, mine.size()), std::memory_order_relaxed);
    });
    roofline.read_gb_s = std::max(roofline.read_gb_s, static_cast<double>(memory.size_bytes()) / Seconds(start) / 1e9);
    const auto peak = [&](float (*loop)(int64_t), int64_t per_round, double* best) {
      constexpr int64_t kMultiplyAdds = 200'000'000;
      const int64_t rounds = kMultiplyAdds / (Cpu().isa == Isa::kScalar ? 100 * per_round : per_round);
      start = Clock::now();
      team.Run([&](int) { sink.store(loop(rounds), std::memory_order_relaxed); });
      *best = std::max(*best, 2.0 * static_cast<double>(rounds * per_round * threads) / Seconds(start) / 1e9);
    };
    peak(probe.fma, probe.fma_per_round, &roofline.fma_gflop_s);
    peak(probe.dot8, probe.dot_per_round, &roofline.dot8_gop_s);
    peak(probe.dot16, probe.dot_per_round / 2, &roofline.dot16_gop_s);
  }
  return roofline;
}

Sample Summarize(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2, (values.back() - values.front()) / 2};
}

}  // namespace nibble
