// SPDX-License-Identifier: Apache-2.0
// The probes, once on F32x16; an ISA file includes its vec_*.h and dot_*.h first.
#pragma once

#include "kernels/cpu/probe/probe.h"
#include "kernels/cpu/unroll.h"

namespace nibble {
namespace {

// Four streams side by side: faster than one, which the processor's prefetcher does not keep far enough ahead of.
float Read(const float* data, int64_t floats) {
  const int64_t stream = floats / 4 / 64 * 64;
  F32x16 sum[4] = {F32x16::Zero(), F32x16::Zero(), F32x16::Zero(), F32x16::Zero()};
  for (int64_t i = 0; i < stream; i += 64)
    for (const float* at = data + i; at < data + 4 * stream; at += stream)
      for (int j = 0; j < 4; ++j) sum[j] = sum[j] + F32x16::Load(at + 16 * j);
  return (sum[0] + sum[1] + sum[2] + sum[3]).Sum();
}

// Independent chains that hide the latency of the multiplier and fit the registers: F32x16 is two of AVX2's sixteen.
constexpr int kChains = F32x16::kWide ? 12 : 6;

float Fma(int64_t rounds) {
  F32x16 chain[kChains];
  for (int j = 0; j < kChains; ++j) chain[j] = F32x16::Set(static_cast<float>(j));
  const F32x16 a = F32x16::Set(0.999f), b = F32x16::Set(0.001f);
  for (int64_t i = 0; i < rounds; ++i)
    for (int j = 0; j < kChains; ++j) chain[j] = F32x16::Fma(chain[j], a, b);
  F32x16 sum = F32x16::Zero();
  for (const F32x16& c : chain) sum = sum + c;
  return sum.Sum();
}

// Codes that change with every round, so that no product is computed before the loop. Sums wrap; nobody reads them as numbers.
template <typename Dot>
float DotRounds(int64_t rounds) {
  alignas(64) std::byte bytes[64 + 64] = {};
  for (int i = 0; i < 96; ++i) bytes[i] = static_cast<std::byte>(i % 15);
  Dot chain[kChains];
  Unroll<kChains>([&](auto j) { chain[j] = Dot::Start(XHeader{}, 0, 0); });
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" ::: "memory");  // codes and x are loaded anew, as in the kernels; kept, g++ spills them and halves the peak
    const auto w = Dot::template Phase<0>(Bytes64::Load(bytes));
    Unroll<kChains>([&](auto j) { chain[j] = chain[j].Plus(w, bytes + 64 + 4 * j); });
  }
  F32x16 sum = F32x16::Zero();
  Unroll<kChains>([&](auto j) { sum = sum + chain[j].Total().ToF32(); });
  return sum.Sum();
}

// A Dot8 operand is 64 products, a Dot16 operand 32.
const CpuProbe kProbe = {Read, Fma, DotRounds<Dot8>, DotRounds<Dot16>, kChains * 16, kChains * 64};

}  // namespace
}  // namespace nibble
