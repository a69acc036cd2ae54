// SPDX-License-Identifier: Apache-2.0
#include "formats/hadamard_tables.h"

#include <bit>
#include <map>

namespace nibble {
namespace {

struct Row {
  int64_t q;
  const uint64_t* bits;
};
#include "formats/hadamard_tables.inc"

// +-1 as i8, unpacked once.
std::map<int64_t, Tensor> Unpack() {
  std::map<int64_t, Tensor> tables;
  for (const Row& row : kRows) {
    Tensor& table = tables[row.q] = Tensor(DType::kI8, {row.q, row.q});
    for (int64_t i = 0; i < row.q * row.q; ++i)
      table.as<int8_t>()[i] = row.bits[i / 64] >> (63 - i % 64) & 1 ? int8_t{-1} : int8_t{1};
  }
  return tables;
}

}  // namespace

std::optional<Transform> HadamardOf(int64_t block) {
  if (block <= 0) return std::nullopt;
  const auto power = [](int64_t x) { return std::has_single_bit(static_cast<uint64_t>(x)); };
  Transform transform{.kind = Transform::kHadamard, .block = block};
  static const std::map<int64_t, Tensor> tables = Unpack();
  for (const Row& row : kRows) {
    if (block % row.q != 0 || !power(block / row.q)) continue;
    transform.data2 = tables.at(row.q).view;
    return transform;
  }
  if (power(block)) return transform;
  return std::nullopt;
}

}  // namespace nibble
