// SPDX-License-Identifier: Apache-2.0
// Integer arithmetic that cannot wrap silently, for sizes that come from files, and the small helpers of index code.
#pragma once

#include <cstdint>
#include <optional>

namespace nibble {

inline std::optional<int64_t> CheckedMul(int64_t a, int64_t b) {
  int64_t r = 0;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}
inline std::optional<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t r = 0;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}
constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t multiple) { return CeilDiv(a, multiple) * multiple; }

// Half-open interval [begin, end) of rows, columns or strips.
struct Range {
  int64_t begin = 0, end = 0;
  constexpr int64_t size() const { return end - begin; }
  constexpr bool empty() const { return end <= begin; }
  bool operator==(const Range&) const = default;
};

// Part `index` of `count` nearly equal contiguous parts of [0, total), each a multiple of `unit` (the last may be short).
constexpr Range SplitRange(int64_t total, int64_t index, int64_t count, int64_t unit = 1) {
  const int64_t units = CeilDiv(total, unit);
  const int64_t begin = units * index / count * unit, end = units * (index + 1) / count * unit;
  return {begin < total ? begin : total, end < total ? end : total};
}

}  // namespace nibble
