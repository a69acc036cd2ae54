// SPDX-License-Identifier: Apache-2.0
#include "formats/plane.h"

#include <algorithm>

#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr int64_t kChunk = 256;  // codes or groups looked at together, on the stack

int64_t GroupIndex(const TensorView& map, int64_t k) {
  const int64_t at = k * map.stride[0];
  if (map.dtype == DType::kI32) {
    int32_t group;
    std::memcpy(&group, map.data + at * 4, sizeof group);
    return group;
  }
  return static_cast<int64_t>(LoadScalar(map.dtype, map.data, at));
}

// The stored number `raw` of block `block`, decoded.
float FinishScale(const Plane& plane, float raw, int64_t block) {
  if (plane.table) {
    raw = LoadScalar(plane.table.dtype, plane.table.data, static_cast<int64_t>(raw) * plane.table.stride[0]);
  }
  if (plane.outer) {
    raw *= LoadScalar(plane.outer.dtype, plane.outer.data, block / plane.outer_block * plane.outer.stride[0]);
    raw += plane.offset;
  }
  if (plane.reciprocal) return plane.multiplier / raw;
  return plane.multiplier == 1 ? raw : raw * plane.multiplier;
}

bool IsPlain(const Plane& plane) { return !plane.table && !plane.outer && !plane.reciprocal && plane.multiplier == 1; }

void ReadPackedGroups(const Plane& plane, int64_t block_row, Range groups, float* out) {
  uint8_t codes[kChunk];
  for (int64_t begin = groups.begin; begin < groups.end; begin += kChunk) {
    const Range part{begin, std::min(begin + kChunk, groups.end)};
    plane.packed->read(*plane.packed, {block_row, block_row + 1}, part, codes);
    for (int64_t i = 0; i < part.size(); ++i) *out++ = static_cast<float>(codes[i]) + plane.packed_bias;
  }
}

void ReadFlatPlane(const Plane& plane, int64_t n, Range k, float* out) {
  const int64_t base = (plane.flat_n0 + n) * plane.flat_k + plane.flat_k0;
  int64_t i = k.begin;
  while (i < k.end) {
    const int64_t block = (base + i) / plane.block_k, next = std::min(k.end, (block + 1) * plane.block_k - base);
    const float value = FinishScale(plane, LoadScalar(plane.data.dtype, plane.data.data, block * plane.data.stride[0]), block);
    for (; i < next; ++i) *out++ = value;
  }
}

void ReadMapped(const Plane& plane, const TensorView& group_of_k, int64_t block_row, Range k, float* out) {
  float values[2 * kChunk];
  int64_t last = 0;
  for (int64_t i = k.begin; i < k.end; ++i) last = std::max(last, GroupIndex(group_of_k, i));
  const bool whole_row = last < 2 * kChunk && k.size() * 4 > last;  // one pass over the groups is cheaper than one call a column
  if (whole_row) ReadPlaneGroups(plane, block_row, {0, last + 1}, values);
  for (int64_t i = k.begin; i < k.end; ++i) {
    const int64_t group = GroupIndex(group_of_k, i);
    if (whole_row) {
      *out++ = values[group];
    } else {
      ReadPlaneGroups(plane, block_row, {group, group + 1}, out++);
    }
  }
}

void ReadRuns(const Plane& plane, int64_t block_row, int64_t k_phase, Range k, float* out) {
  float values[kChunk];
  const int64_t block = plane.block_k;
  int64_t i = k.begin;
  while (i < k.end) {
    const int64_t first = (i + k_phase) / block;
    const int64_t count = std::min(kChunk, (k.end - 1 + k_phase) / block - first + 1);
    ReadPlaneGroups(plane, block_row, {first, first + count}, values);
    for (int64_t g = 0; g < count; ++g) {
      const int64_t next = std::min(k.end, (first + g + 1) * block - k_phase);
      out = std::fill_n(out, next - i, values[g]);
      i = next;
    }
  }
}

}  // namespace

void ReadPlaneGroups(const Plane& plane, int64_t block_row, Range groups, float* out) {
  if (plane.packed) return ReadPackedGroups(plane, block_row, groups, out);
  const TensorView& data = plane.data;
  if (!data) {
    std::fill_n(out, groups.size(), plane.multiplier);
    return;
  }
  const int64_t first = block_row * data.stride[0] + groups.begin * data.stride[1];
  if (data.stride[1] == 1) {
    ConvertToF32(data.dtype, data.data + first * DTypeBytes(data.dtype), groups.size(), out);
  } else {
    for (int64_t g = 0; g < groups.size(); ++g) out[g] = LoadScalar(data.dtype, data.data, first + g * data.stride[1]);
  }
  if (IsPlain(plane)) return;
  const int64_t block = block_row * data.dim(1) + groups.begin;
  for (int64_t g = 0; g < groups.size(); ++g) out[g] = FinishScale(plane, out[g], block + g);
}

int64_t BodyRow(const StoredWeight& weight, int64_t n) {
  const TensorView& map = weight.row_map;
  return map ? static_cast<int64_t>(LoadScalar(map.dtype, map.data, n * map.stride[0])) : n;
}

int64_t GroupOf(const Coded& coded, const Plane& plane, int64_t k) {
  if (plane.block_k == 0) return 0;
  return coded.group_of_k ? GroupIndex(coded.group_of_k, k) : (k + coded.k_phase) / plane.block_k;
}

void ReadPlane(const Coded& coded, const Plane& plane, int64_t n, Range k, float* out) {
  if (plane.flat) return ReadFlatPlane(plane, n, k, out);
  const int64_t block_row = plane.block_n == 0 ? 0 : (n + coded.n_phase) / plane.block_n;
  if (plane.block_k == 0) {
    ReadPlaneGroups(plane, block_row, {0, 1}, out);
    std::fill_n(out, k.size(), out[0]);
  } else if (coded.group_of_k) {
    ReadMapped(plane, coded.group_of_k, block_row, k, out);
  } else {
    ReadRuns(plane, block_row, coded.k_phase, k, out);
  }
}

void ReadScales(const Coded& coded, int64_t n, Range k, float* out) {
  ReadPlane(coded, coded.scale, n, k, out);
  if (!coded.scale2) return;
  Plane factor = *coded.scale2;
  const bool divides = factor.reciprocal && factor.multiplier == 1;
  if (divides) factor.reciprocal = false;
  float second[kChunk];
  for (int64_t begin = k.begin; begin < k.end; begin += kChunk) {
    const Range part{begin, std::min(begin + kChunk, k.end)};
    ReadPlane(coded, factor, n, part, second);
    for (int64_t i = 0; i < part.size(); ++i, ++out) *out = divides ? *out / second[i] : *out * second[i];
  }
}

}  // namespace nibble
