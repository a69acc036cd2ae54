// SPDX-License-Identifier: Apache-2.0
// Slice: cuts a shard out of a StoredWeight by moving its views; only sliced permutations and pair lists are new bytes.
#include <cstring>
#include <numeric>

#include "base/check.h"
#include "formats/stored_weight.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// Where a cut begins inside planes of several block sizes: `phase` elements into blocks that all begin at `origin`.
struct Cut {
  int64_t origin = 0, phase = 0;
};

// Every plane must begin at a block boundary of its own, so the common origin is a multiple of all block sizes.
Cut CommonCut(int64_t begin, std::initializer_list<int64_t> blocks) {
  int64_t unit = 1;
  for (const int64_t block : blocks) {
    if (block > 0) unit = std::lcm(unit, block);
  }
  return {begin - begin % unit, begin % unit};
}

// Narrows one axis of a plane to the blocks that elements [origin, origin + phase + size) touch.
void NarrowPlane(Plane& plane, int axis, Cut cut, int64_t size) {
  const int64_t block = axis == 0 ? plane.block_n : plane.block_k;
  if (block == 0) return;
  const int64_t first = cut.origin / block;
  if (plane.packed) {
    (axis == 0 ? plane.packed->n0 : plane.packed->k0) += first;
  } else if (plane.data) {
    plane.data = plane.data.Slice(axis, first, CeilDiv(cut.phase + size, block));
  }
}

// The rectangle to keep, in the rows and columns of the body. With a row map, rows of the body stay where they are.
struct Rect {
  Range n, k;
  bool cut_rows = true;
};

Status CutPlane(Plane& plane, const StoredWeight& whole, const Rect& rect, Cut n_cut, Cut k_cut, bool mapped) {
  if (plane.flat) {
    if (rect.cut_rows) plane.flat_n0 += rect.n.begin;
    plane.flat_k0 += rect.k.begin;
    return {};
  }
  if (plane.outer) {
    return Unsupported("{}: a doubly quantized plane of rows and columns cannot be cut; keep the whole matrix on one shard",
                       whole.origin.tensor);
  }
  if (rect.cut_rows) NarrowPlane(plane, 0, n_cut, rect.n.size());
  if (!mapped) NarrowPlane(plane, 1, k_cut, rect.k.size());
  return {};
}

Status CutBody(const StoredWeight& whole, Coded& coded, const Rect& rect) {
  const auto block = [](const std::optional<Plane>& plane, int axis) -> int64_t {
    if (!plane || plane->flat) return 0;
    return axis == 0 ? plane->block_n : plane->block_k;
  };
  const auto cut = [&](int axis, int64_t begin) {
    return CommonCut(begin, {block(coded.scale, axis), block(coded.zero, axis), block(coded.scale2, axis)});
  };
  const bool mapped = static_cast<bool>(coded.group_of_k);
  const Cut n_cut = cut(0, coded.n_phase + rect.n.begin), k_cut = cut(1, coded.k_phase + rect.k.begin);
  NIBBLE_RETURN_IF_ERROR(CutPlane(coded.scale, whole, rect, n_cut, k_cut, mapped));
  if (coded.zero) NIBBLE_RETURN_IF_ERROR(CutPlane(*coded.zero, whole, rect, n_cut, k_cut, mapped));
  if (coded.scale2) NIBBLE_RETURN_IF_ERROR(CutPlane(*coded.scale2, whole, rect, n_cut, k_cut, mapped));
  if (mapped) {
    coded.group_of_k = coded.group_of_k.Slice(0, rect.k.begin, rect.k.size());
  } else {
    coded.k_phase = k_cut.phase;
  }
  coded.codes.k0 += rect.k.begin;
  if (!rect.cut_rows) return {};
  if (coded.rule == ValueRule::kRowTable) coded.table = coded.table.Slice(0, rect.n.begin, rect.n.size());
  coded.n_phase = n_cut.phase;
  coded.codes.n0 += rect.n.begin;
  return {};
}

Status CutBody(const StoredWeight& whole, Blocked& blocked, const Rect& rect) {
  const Format& format = *whole.format;
  if (rect.cut_rows) blocked.blocks = blocked.blocks.Slice(0, rect.n.begin, rect.n.size());
  const int64_t begin = blocked.k_phase + rect.k.begin, end = blocked.k_phase + rect.k.end;
  if (format.row_meta_bytes > 0) {  // the head of the row belongs to every shard, so the row stays whole
    blocked.k_phase = begin;
    return {};
  }
  const int64_t first = begin / format.block_elems, last = CeilDiv(end, format.block_elems);
  blocked.blocks = blocked.blocks.Slice(1, first * format.block_bytes, (last - first) * format.block_bytes);
  blocked.k_phase = begin - first * format.block_elems;
  return {};
}

Status CutBody(const StoredWeight& whole, Trellis&, const Rect&) {
  return Unsupported("{}: trellis weights cannot be cut; keep the whole matrix on one shard", whole.origin.tensor);
}

Status CutBody(const StoredWeight&, Dense& dense, const Rect& rect) {
  if (rect.cut_rows) dense.w = dense.w.Slice(0, rect.n.begin, rect.n.size());
  dense.w = dense.w.Slice(1, rect.k.begin, rect.k.size());
  return {};
}

Status CutBody(const StoredWeight&, Custom& custom, const Rect& rect) {
  if (rect.cut_rows) custom.n0 += rect.n.begin;
  custom.k0 += rect.k.begin;
  return {};
}

int64_t LoadIndex(const TensorView& view, int64_t i) {
  int32_t value;
  NIBBLE_CHECK(view.dtype == DType::kI32, "index of {}", DTypeName(view.dtype));
  std::memcpy(&value, view.data + i * view.stride[0] * 4, sizeof value);
  return value;
}

// x'[j] = x[data[j]] stays inside the shard if data maps `range` onto itself.
Status CutPermutation(StoredWeight& cut, Transform& transform, Range range, const std::string& name) {
  Tensor local(DType::kI32, {range.size()});
  for (int64_t j = 0; j < range.size(); ++j) {
    const int64_t source = LoadIndex(transform.data, range.begin + j);
    if (source < range.begin || source >= range.end) {
      return Unsupported(
          "{}: the permutation of features takes {} from outside the shard {}..{}; keep the whole matrix on one shard", name,
          source, range.begin, range.end);
    }
    local.as<int32_t>()[j] = static_cast<int32_t>(source - range.begin);
  }
  transform.data = local.view;
  cut.keep.push_back(local.bytes);
  return {};
}

// Pairs [p,2] inside the range stay, pairs outside are dropped, pairs across are an error.
Status CutRotations(StoredWeight& cut, Transform& transform, Range range, const std::string& name) {
  const TensorView pairs = transform.data2;
  std::vector<int64_t> inside;
  for (int64_t p = 0; p < pairs.dim(0); ++p) {
    const int64_t a = LoadIndex(pairs.Select(0, p), 0), b = LoadIndex(pairs.Select(0, p), 1);
    const bool has_a = a >= range.begin && a < range.end, has_b = b >= range.begin && b < range.end;
    if (has_a != has_b) {
      return Unsupported("{}: a rotation pairs feature {} with {} across the shard {}..{}; keep the whole matrix on one shard",
                         name, a, b, range.begin, range.end);
    }
    if (has_a) inside.push_back(p);
  }
  const auto count = static_cast<int64_t>(inside.size());
  Tensor angles(DType::kF32, {count}), local(DType::kI32, {count, 2});
  for (int64_t i = 0; i < count; ++i) {
    const int64_t p = inside[static_cast<size_t>(i)];
    angles.as<float>()[i] = LoadScalar(transform.data.dtype, transform.data.data, p * transform.data.stride[0]);
    for (int64_t j = 0; j < 2; ++j) {
      local.as<int32_t>()[2 * i + j] = static_cast<int32_t>(LoadIndex(pairs.Select(0, p), j) - range.begin);
    }
  }
  transform.data = angles.view;
  transform.data2 = local.view;
  cut.keep.push_back(angles.bytes);
  cut.keep.push_back(local.bytes);
  return {};
}

Status CutTransforms(StoredWeight& cut, std::vector<Transform>& transforms, Range range, int64_t width, const std::string& name) {
  if (range == Range{0, width}) return {};
  for (Transform& transform : transforms) {
    switch (transform.kind) {
      case Transform::kScale: transform.data = transform.data.Slice(0, range.begin, range.size()); break;
      case Transform::kPermute: NIBBLE_RETURN_IF_ERROR(CutPermutation(cut, transform, range, name)); break;
      case Transform::kGivens: NIBBLE_RETURN_IF_ERROR(CutRotations(cut, transform, range, name)); break;
      case Transform::kHadamard:
      case Transform::kMatrix: {
        const int64_t block = transform.block == 0 ? width : transform.block;
        if (range.begin % block != 0 || range.end % block != 0) {
          return Unsupported(
              "{}: a rotation of blocks of {} cannot be cut to features {}..{}; cut at multiples of {} or keep it whole", name,
              block, range.begin, range.end, block);
        }
        const bool signs = transform.kind == Transform::kHadamard && transform.data && transform.data.dim(0) == width;
        if (signs) transform.data = transform.data.Slice(0, range.begin, range.size());
        break;
      }
    }
  }
  return {};
}

}  // namespace

Result<StoredWeight> Slice(const StoredWeight& weight, Range n, Range k) {
  NIBBLE_CHECK(n.begin >= 0 && n.begin <= n.end && n.end <= weight.n && k.begin >= 0 && k.begin <= k.end && k.end <= weight.k,
               "slice {}..{}, {}..{} of [{},{}]", n.begin, n.end, k.begin, k.end, weight.n, weight.k);
  StoredWeight cut = weight;
  cut.n = n.size();
  cut.k = k.size();
  if (n == Range{0, weight.n} && k == Range{0, weight.k}) return cut;
  cut.origin.slice += fmt::format("[{},{})x[{},{})", n.begin, n.end, k.begin, k.end);
  if (weight.row_map) cut.row_map = weight.row_map.Slice(0, n.begin, n.size());
  const Rect rect{weight.row_map ? Range{} : n, k, !weight.row_map};
  NIBBLE_RETURN_IF_ERROR(std::visit([&](auto& body) { return CutBody(weight, body, rect); }, cut.body));
  NIBBLE_RETURN_IF_ERROR(CutTransforms(cut, cut.in, k, weight.k, weight.origin.tensor));
  NIBBLE_RETURN_IF_ERROR(CutTransforms(cut, cut.out, n, weight.n, weight.origin.tensor));
  if (cut.lora_a) cut.lora_a = cut.lora_a.Slice(1, k.begin, k.size());
  if (cut.lora_b) cut.lora_b = cut.lora_b.Slice(0, n.begin, n.size());
  return cut;
}

Result<StoredWeight> SelectRows(const StoredWeight& weight, const std::vector<int32_t>& rows) {
  if (!weight.out.empty() || weight.lora_b)
    return Unsupported("{}: rows of a weight whose outputs are transformed cannot be taken one by one", weight.origin.tensor);
  auto map = std::make_shared<std::vector<int32_t>>(rows);
  for (int32_t& row : *map) {
    NIBBLE_CHECK(row >= 0 && row < weight.n, "row {} of {}", row, weight.n);
    if (weight.row_map) std::memcpy(&row, weight.row_map.data + row * weight.row_map.stride[0] * 4, sizeof row);
  }
  StoredWeight selected = weight;
  selected.n = static_cast<int64_t>(rows.size());
  selected.row_map = TensorView(map->data(), DType::kI32, {selected.n});
  selected.keep.push_back(map);
  selected.origin.slice += fmt::format("{} rows", selected.n);
  return selected;
}

}  // namespace nibble
