// SPDX-License-Identifier: Apache-2.0
#include "eval/speed.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "kernels/cpu/probe/probe.h"

namespace nibble {
namespace {

using Clock = std::chrono::steady_clock;
double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

constexpr int64_t kProbeBytes = int64_t{256} << 20;

std::vector<int32_t> SomeTokens(int64_t count, int64_t vocab) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) tokens[static_cast<size_t>(i)] = static_cast<int32_t>((i * 7919 + 1) % vocab);
  return tokens;
}

// Tokens per second of one prompt.
Result<double> Prefill(Engine& engine, int64_t count) {
  const auto start = Clock::now();
  NIBBLE_RETURN_IF_ERROR(engine.Add({.prompt = SomeTokens(count, engine.vocab()), .max_tokens = 0}).map([](SequenceId) {}));
  NIBBLE_RETURN_IF_ERROR(engine.RunUntilIdle());
  return static_cast<double>(count) / Seconds(start);
}

// Tokens per second from the first generated token to the last.
Result<double> Decode(Engine& engine, int64_t count) {
  Clock::time_point first;
  int64_t generated = 0;
  Engine::Request request{.prompt = SomeTokens(1, engine.vocab()), .max_tokens = count + 1};
  request.on_token = [&](int32_t) {
    if (generated++ == 0) first = Clock::now();
    return true;
  };
  NIBBLE_RETURN_IF_ERROR(engine.Add(std::move(request)).map([](SequenceId) {}));
  NIBBLE_RETURN_IF_ERROR(engine.RunUntilIdle());
  return static_cast<double>(generated - 1) / Seconds(first);
}

// Multiply-adds of one token in the linear layers (active experts only).
double LinearMacs(const Engine& engine) {
  double macs = 0;
  for (const LinearSpec& linear : engine.graph().linears)
    if (!linear.is_lm_head) macs += static_cast<double>(linear.n() * linear.k);
  for (const MoeSpec& moe : engine.graph().moes) macs += static_cast<double>(3 * moe.top_k * moe.hidden * moe.inter);
  return macs;
}

// Bytes of packed weights one token reads.
double ActiveBytes(const Engine& engine) {
  double bytes = 0;
  for (const BoundLinear& linear : engine.weights().linears) bytes += static_cast<double>(linear.packed.packed_bytes);
  for (size_t i = 0; i < engine.weights().moes.size(); ++i) {
    double experts = 0;
    for (const BoundExpert& expert : engine.weights().moes[i])
      experts += static_cast<double>(expert.w13.packed_bytes + expert.w2.packed_bytes);
    bytes += experts * static_cast<double>(engine.graph().moes[i].top_k) / static_cast<double>(engine.graph().moes[i].experts);
  }
  return bytes;
}

}  // namespace

Roofline MeasureRoofline(int threads) {
  static const Buffer memory(kProbeBytes);
  const CpuProbe& probe = ProbeFor(Cpu().isa);
  ThreadTeam team(threads);
  Roofline roofline{.threads = threads};
  std::atomic<float> sink{0};  // keeps the loops alive
  const auto* floats = reinterpret_cast<const float*>(memory.data());
  for (int round = 0; round < 3; ++round) {
    auto start = Clock::now();
    team.Run([&](int worker) {
      const Range mine = SplitRange(kProbeBytes / 4, worker, threads, 64);
      sink.store(probe.read(floats + mine.begin, mine.size()), std::memory_order_relaxed);
    });
    roofline.read_gb_s = std::max(roofline.read_gb_s, static_cast<double>(kProbeBytes) / Seconds(start) / 1e9);
    constexpr int64_t kRounds = 2'000'000;
    const int64_t rounds = Cpu().isa == Isa::kScalar ? kRounds / 100 : kRounds;
    start = Clock::now();
    team.Run([&](int) { sink.store(probe.fma(rounds), std::memory_order_relaxed); });
    roofline.fma_gflop_s =
        std::max(roofline.fma_gflop_s, 2.0 * static_cast<double>(rounds * kFmaPerRound * threads) / Seconds(start) / 1e9);
  }
  return roofline;
}

Sample Summarize(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return {n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2, (values.back() - values.front()) / 2};
}

Result<std::vector<SpeedResult>> MeasureSpeed(const std::vector<Engine*>& engines, const SpeedOptions& options,
                                              Progress* progress) {
  std::vector<std::vector<double>> prefill(engines.size()), decode(engines.size());
  std::vector<double> read, fma;
  for (Engine* engine : engines)  // warm up: first touch of cache pages and code
    NIBBLE_RETURN_IF_ERROR(Prefill(*engine, std::min<int64_t>(options.prompt, 32)).map([](double) {}));
  for (int round = 0; round < options.rounds; ++round) {
    const Roofline roofline = MeasureRoofline(engines[0]->threads());
    read.push_back(roofline.read_gb_s);
    fma.push_back(roofline.fma_gflop_s);
    for (size_t i = 0; i < engines.size(); ++i) {
      if (options.prompt > 0) {
        NIBBLE_TRY(const double speed, Prefill(*engines[i], options.prompt));
        prefill[i].push_back(speed);
      }
      if (options.generate > 0) {
        NIBBLE_TRY(const double speed, Decode(*engines[i], options.generate));
        decode[i].push_back(speed);
      }
    }
    if (progress) progress->Update("rounds", round + 1, options.rounds);
  }
  std::vector<SpeedResult> results;
  for (size_t i = 0; i < engines.size(); ++i) {
    SpeedResult r{
        Summarize(prefill[i]), Summarize(decode[i]), {Summarize(read).median, Summarize(fma).median, engines[i]->threads()}};
    r.prefill_share = r.prefill_tok_s.median * 2 * LinearMacs(*engines[i]) / (r.roofline.fma_gflop_s * 1e9);
    r.fits_in_cache = ActiveBytes(*engines[i]) < 2 * static_cast<double>(Cpu().l3_bytes);
    if (!r.fits_in_cache) r.decode_share = r.decode_tok_s.median * ActiveBytes(*engines[i]) / (r.roofline.read_gb_s * 1e9);
    results.push_back(r);
  }
  return results;
}

}  // namespace nibble
