// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

namespace nibble {
namespace {

#if defined(__x86_64__)
uint64_t ReadXcr0() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux hands out the AMX tile state on request only.
bool RequestAmx() {
  constexpr int kArchReqXcompPerm = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}

void DetectIsa(CpuInfo* info) {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  const bool osxsave = c & (1u << 27), fma = c & (1u << 12), f16c = c & (1u << 29);
  if (!osxsave) return;
  const uint64_t xcr0 = ReadXcr0();
  const bool os_ymm = (xcr0 & 0x6) == 0x6, os_zmm = (xcr0 & 0xe6) == 0xe6, os_tile = (xcr0 & 0x60000) == 0x60000;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
  const bool avx2 = b & (1u << 5), bmi2 = b & (1u << 8);
  const bool avx512 = (b & (1u << 16)) && (b & (1u << 17)) && (b & (1u << 30)) && (b & (1u << 31));  // F DQ BW VL
  const bool vnni = c & (1u << 11), vbmi = c & (1u << 1), amx_int8 = d & (1u << 25), amx_bf16 = d & (1u << 22);
  uint32_t a1 = 0, b1 = 0, c1 = 0, d1 = 0;
  const bool bf16 = __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1) && (a1 & (1u << 5));
  if (!(avx2 && bmi2 && fma && f16c && os_ymm)) return;
  info->isa = Isa::kAvx2;
  if (!(avx512 && os_zmm)) return;
  info->isa = Isa::kAvx512;
  if (!vnni) return;
  info->isa = Isa::kAvx512Vnni;
  info->avx512_bf16 = bf16;
  info->avx512_vbmi = vbmi;
  if (amx_int8 && amx_bf16 && os_tile && RequestAmx()) info->isa = Isa::kAmx;
}

std::string BrandString() {
  uint32_t regs[12] = {};
  for (uint32_t i = 0; i < 3; ++i)
    if (!__get_cpuid(0x80000002 + i, &regs[4 * i], &regs[4 * i + 1], &regs[4 * i + 2], &regs[4 * i + 3])) return "x86-64";
  char text[49] = {};
  std::memcpy(text, regs, 48);
  std::string name = text;
  name.erase(0, name.find_first_not_of(' '));
  while (!name.empty() && name.back() == ' ') name.pop_back();
  return name;
}
#else
void DetectIsa(CpuInfo*) {}
std::string BrandString() { return "unknown processor"; }
#endif

int64_t ReadNumber(const char* path) {
  std::ifstream in(path);
  int64_t value = -1;
  return in >> value ? value : -1;
}

// The smallest memory limit of the cgroup this process runs in (v2, then v1); -1 without one.
int64_t CgroupLimit() {
  const int64_t v2 = ReadNumber("/sys/fs/cgroup/memory.max");
  return v2 >= 0 ? v2 : ReadNumber("/sys/fs/cgroup/memory/memory.limit_in_bytes");
}

// Of this core. glibc multiplies the size by the sharers that the processor could have, which a virtual machine has not.
int64_t LastLevelCacheBytes() {
  std::ifstream in("/sys/devices/system/cpu/cpu0/cache/index3/size");
  int64_t size = 0;
  char unit = 0;
  if (in >> size >> unit && size > 0) return size << (unit == 'K' ? 10 : unit == 'M' ? 20 : 0);
  return std::max<int64_t>(0, sysconf(_SC_LEVEL3_CACHE_SIZE));
}

CpuInfo Detect() {
  CpuInfo info;
  info.name = BrandString();
  DetectIsa(&info);
  if (const char* cap = std::getenv("NIBBLE_ISA")) {
    for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAmx})
      if (std::string_view(cap) == IsaName(isa)) info.isa = std::min(info.isa, isa);
    if (info.isa < Isa::kAvx512Vnni) info.avx512_bf16 = info.avx512_vbmi = false;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  info.cores = sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
  info.memory_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  if (const int64_t limit = CgroupLimit(); limit > 0) info.memory_bytes = std::min(info.memory_bytes, limit);
  info.l2_bytes = std::max<int64_t>(0, sysconf(_SC_LEVEL2_CACHE_SIZE));
  info.l3_bytes = LastLevelCacheBytes();
  return info;
}

}  // namespace

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Vnni: return "avx512vnni";
    case Isa::kAmx: return "amx";
  }
  return "scalar";
}

const CpuInfo& Cpu() {
  static const CpuInfo info = Detect();
  return info;
}

int64_t AvailableMemoryBytes() {
  int64_t available = Cpu().memory_bytes;
  std::ifstream in("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  while (in >> key >> kib) {
    std::getline(in, unit);
    if (key == "MemAvailable:") {
      available = std::min(available, kib * 1024);
      break;
    }
  }
  const int64_t limit = CgroupLimit(), used = ReadNumber("/sys/fs/cgroup/memory.current");
  if (limit > 0 && used >= 0) available = std::min(available, std::max<int64_t>(0, limit - used));
  return available;
}

}  // namespace nibble
