// SPDX-License-Identifier: Apache-2.0
// The probes, once on F32x16; an ISA file includes its vec_*.h first.
#pragma once

#include "kernels/cpu/probe/probe.h"

namespace nibble {
namespace {

float Read(const float* data, int64_t floats) {
  F32x16 sum[4] = {F32x16::Zero(), F32x16::Zero(), F32x16::Zero(), F32x16::Zero()};
  for (int64_t i = 0; i + 64 <= floats; i += 64)
    for (int j = 0; j < 4; ++j) sum[j] = sum[j] + F32x16::Load(data + i + 16 * j);
  return (sum[0] + sum[1] + sum[2] + sum[3]).Sum();
}

// Twelve independent chains hide the latency of the multiplier on every processor.
float Fma(int64_t rounds) {
  F32x16 chain[12];
  for (int j = 0; j < 12; ++j) chain[j] = F32x16::Set(static_cast<float>(j));
  const F32x16 a = F32x16::Set(0.999f), b = F32x16::Set(0.001f);
  for (int64_t i = 0; i < rounds; ++i)
    for (int j = 0; j < 12; ++j) chain[j] = F32x16::Fma(chain[j], a, b);
  F32x16 sum = F32x16::Zero();
  for (const F32x16& c : chain) sum = sum + c;
  return sum.Sum();
}

const CpuProbe kProbe = {Read, Fma};

}  // namespace
}  // namespace nibble
