// SPDX-License-Identifier: Apache-2.0
// What this processor can run. Detection reads CPUID and what the operating system saves (XCR0); NIBBLE_ISA=scalar|avx2|avx512|
// avx512vnni|amx caps it, so that every path can be tested on one machine.
#pragma once

#include <cstdint>
#include <string>

namespace nibble {

// Ordered: a machine that has one has all before it.
enum class Isa : uint8_t { kScalar, kAvx2, kAvx512, kAvx512Vnni, kAmx };
const char* IsaName(Isa isa);

struct CpuInfo {
  std::string name;          // "Intel(R) Xeon(R) Processor"
  Isa isa = Isa::kScalar;    // best level, after the cap
  bool avx512_bf16 = false;  // beside kAvx512Vnni
  bool avx512_vbmi = false;
  int cores = 1;             // logical processors this process may use
  int64_t memory_bytes = 0;  // physical memory, or the cgroup's limit where that is lower
  int64_t l2_bytes = 0, l3_bytes = 0;
};

// Detected once, on first use. Thread-safe.
const CpuInfo& Cpu();

// Memory that can still be allocated without swapping: MemAvailable, or what is left under the cgroup's limit.
int64_t AvailableMemoryBytes();

}  // namespace nibble
