// SPDX-License-Identifier: Apache-2.0
// VerifyValues: the checks that need every stored number, for --verify and before packing.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/plane.h"
#include "formats/stored_weight.h"

namespace nibble {
namespace {

std::string Name(const StoredWeight& weight) {
  return weight.origin.file.empty() ? weight.origin.tensor : fmt::format("{}: {}", weight.origin.file, weight.origin.tensor);
}

Status CheckMap(const StoredWeight& weight, const Coded& coded) {
  if (!coded.group_of_k) return {};
  if (coded.group_of_k.dim(0) != weight.k) {
    return Corrupt("{}: the group map has {} entries for {} columns", Name(weight), coded.group_of_k.dim(0), weight.k);
  }
  int64_t groups = INT64_MAX;
  for (const Plane* plane : {&coded.scale, coded.zero ? &*coded.zero : nullptr, coded.scale2 ? &*coded.scale2 : nullptr}) {
    if (plane && plane->block_k != 0 && plane->data) groups = std::min(groups, plane->data.dim(1));
  }
  Coded probe = coded;
  for (int64_t k = 0; k < weight.k; ++k) {
    const Plane mapped{.block_k = 1};
    const int64_t group = GroupOf(probe, mapped, k);
    if (group < 0 || group >= groups) {
      return Corrupt("{}: column {} names group {}, but there are {} groups", Name(weight), k, group, groups);
    }
  }
  return {};
}

// The blocks of rows and groups that a plane needs must exist before anything reads them.
Status CheckExtent(const StoredWeight& weight, const Coded& coded, const Plane& plane, const char* what) {
  if (!plane.data) return {};
  if (plane.flat) {
    const int64_t last = (plane.flat_n0 + weight.n - 1) * plane.flat_k + plane.flat_k0 + weight.k - 1;
    if (plane.block_k <= 0 || last / plane.block_k >= plane.data.dim(0)) {
      return Corrupt("{}: {} {} ends before element {}", Name(weight), what, plane.data.shape.ToString(), last);
    }
    return {};
  }
  if (plane.data.rank() != 2)
    return Corrupt("{}: {} is {}, wanted two dimensions", Name(weight), what, plane.data.shape.ToString());
  const int64_t rows = plane.block_n == 0 || weight.row_map ? 1 : CeilDiv(coded.n_phase + weight.n, plane.block_n);
  const int64_t groups = plane.block_k == 0 || coded.group_of_k ? 1 : CeilDiv(coded.k_phase + weight.k, plane.block_k);
  if (plane.data.dim(0) < rows || plane.data.dim(1) < groups) {
    return Corrupt("{}: {} is {}, wanted [{},{}]", Name(weight), what, plane.data.shape.ToString(), rows, groups);
  }
  return {};
}

Status CheckPlane(const StoredWeight& weight, const Coded& coded, const Plane& plane, const char* what) {
  NIBBLE_RETURN_IF_ERROR(CheckExtent(weight, coded, plane, what));
  std::vector<float> row(static_cast<size_t>(weight.k));
  const int64_t rows = weight.row_map ? (plane.data && !plane.flat ? plane.data.dim(0) * plane.block_n : 0) : weight.n;
  const int64_t step = plane.flat ? 1 : plane.block_n == 0 ? std::max<int64_t>(rows, 1) : plane.block_n;
  for (int64_t n = 0; n < rows; n += step) {
    ReadPlane(coded, plane, n, {0, weight.k}, row.data());
    for (int64_t k = 0; k < weight.k; ++k) {
      if (!std::isfinite(row[static_cast<size_t>(k)])) {
        return Corrupt("{}: {} of row {}, column {} is {}", Name(weight), what, n, k, row[static_cast<size_t>(k)]);
      }
    }
  }
  return {};
}

Status CheckBody(const StoredWeight& weight, const Coded& coded) {
  NIBBLE_RETURN_IF_ERROR(CheckMap(weight, coded));
  if (coded.rule != ValueRule::kRowTable) NIBBLE_RETURN_IF_ERROR(CheckPlane(weight, coded, coded.scale, "scale"));
  if (coded.zero) NIBBLE_RETURN_IF_ERROR(CheckPlane(weight, coded, *coded.zero, "zero point"));
  if (coded.scale2) NIBBLE_RETURN_IF_ERROR(CheckPlane(weight, coded, *coded.scale2, "second scale"));
  return {};
}
template <typename Body>
Status CheckBody(const StoredWeight&, const Body&) {
  return {};
}

Status CheckRowMap(const StoredWeight& weight) {
  if (!weight.row_map) return {};
  int64_t rows = INT64_MAX;
  if (const auto* dense = std::get_if<Dense>(&weight.body)) rows = dense->w.dim(0);
  if (const auto* blocked = std::get_if<Blocked>(&weight.body)) rows = blocked->blocks.dim(0);
  for (int64_t n = 0; n < weight.n; ++n) {
    int32_t source;
    std::memcpy(&source, weight.row_map.data + n * weight.row_map.stride[0] * 4, sizeof source);
    if (source < 0 || source >= rows) return Corrupt("{}: row {} is mapped to row {} of {}", Name(weight), n, source, rows);
  }
  return {};
}

}  // namespace

Status VerifyValues(const StoredWeight& weight) {
  NIBBLE_RETURN_IF_ERROR(CheckRowMap(weight));
  NIBBLE_RETURN_IF_ERROR(std::visit([&](const auto& body) { return CheckBody(weight, body); }, weight.body));
  std::vector<float> row(static_cast<size_t>(weight.k));
  for (int64_t n = 0; n < weight.n; ++n) {
    DecodeRows(weight, {n, n + 1}, {0, weight.k}, row.data());
    const auto bad = std::find_if(row.begin(), row.end(), [](float x) { return !std::isfinite(x); });
    if (bad != row.end()) return Corrupt("{}: the weight of row {}, column {} is {}", Name(weight), n, bad - row.begin(), *bad);
  }
  return {};
}

}  // namespace nibble
