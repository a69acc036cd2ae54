// SPDX-License-Identifier: Apache-2.0
// Words and sizes of a stored weight.
#include <algorithm>

#include "base/check.h"
#include "formats/plane.h"
#include "formats/stored_weight.h"

namespace nibble {
namespace {

std::string Grain(const Plane& plane) {
  if (plane.flat) return fmt::format("flat{}", plane.block_k);
  if (plane.block_n == 0) return plane.block_k == 0 ? "per-tensor" : fmt::format("columns/{}", plane.block_k);
  if (plane.block_n == 1) return plane.block_k == 0 ? "per-channel" : fmt::format("g{}", plane.block_k);
  return plane.block_k == 0 ? fmt::format("rows/{}", plane.block_n) : fmt::format("{}x{}", plane.block_n, plane.block_k);
}

// A group map that is not the plain division was chosen by activation order.
bool IsActOrder(const StoredWeight& weight, const Coded& coded) {
  if (!coded.group_of_k || coded.scale.block_k == 0) return false;
  for (int64_t k = 1; k < weight.k; ++k) {
    if (GroupOf(coded, coded.scale, k) < GroupOf(coded, coded.scale, k - 1)) return true;
  }
  return false;
}

std::string Words(const StoredWeight& weight, const Coded& coded) {
  std::string text;
  switch (coded.rule) {
    case ValueRule::kFloat: text = DTypeName(coded.float_type); break;
    case ValueRule::kTable:
    case ValueRule::kRowTable: text = fmt::format("{}{}", weight.format->name, coded.codes.bits); break;
    default: text = fmt::format("int{}", coded.codes.bits);
  }
  if (coded.rule != ValueRule::kRowTable) text += fmt::format(" {}", Grain(coded.scale));
  if (coded.zero) text += coded.rule == ValueRule::kIntPlusBias ? " bias" : " asym";
  if (coded.scale.outer) text += " double-quant";
  if (coded.scale2) text += " two-level";
  if (IsActOrder(weight, coded)) text += " act-order";
  return text;
}
std::string Words(const StoredWeight& weight, const Blocked&) { return std::string(weight.format->name); }
std::string Words(const StoredWeight&, const Trellis& trellis) { return fmt::format("trellis{}", trellis.bits); }
std::string Words(const StoredWeight&, const Dense& dense) { return DTypeName(dense.w.dtype); }
std::string Words(const StoredWeight&, const Custom& custom) { return custom.codec->name; }

int64_t Bits(const TensorView& view) { return view ? view.size_bytes() * 8 : 0; }

int64_t PlaneBits(const StoredWeight& weight, const Coded& coded, const Plane& plane) {
  const int64_t own_tables = Bits(plane.table);
  if (plane.flat) {
    const int64_t blocks = CeilDiv(weight.n * weight.k, plane.block_k);
    const int64_t outer = plane.outer ? CeilDiv(blocks, plane.outer_block) * DTypeBytes(plane.outer.dtype) * 8 : 0;
    return blocks * DTypeBytes(plane.data.dtype) * 8 + own_tables + outer;
  }
  if (!plane.packed) return Bits(plane.data) + own_tables + Bits(plane.outer);
  const int64_t rows = plane.block_n == 0 ? 1 : CeilDiv(coded.n_phase + weight.n, plane.block_n);
  int64_t groups = plane.block_k == 0 ? 1 : CeilDiv(coded.k_phase + weight.k, plane.block_k);
  if (coded.group_of_k && coded.scale.data) groups = coded.scale.data.dim(1);
  return rows * groups * plane.packed->bits;
}

int64_t BodyBits(const StoredWeight& weight, const Coded& coded) {
  int64_t bits = weight.n * weight.k * coded.codes.bits + Bits(coded.group_of_k) + Bits(coded.table);
  bits += PlaneBits(weight, coded, coded.scale);
  if (coded.zero) bits += PlaneBits(weight, coded, *coded.zero);
  if (coded.scale2) bits += PlaneBits(weight, coded, *coded.scale2);
  return bits;
}
int64_t BodyBits(const StoredWeight& weight, const Blocked& blocked) {
  const Format& format = *weight.format;
  const int64_t blocks = CeilDiv(blocked.k_phase % format.block_elems + weight.k, format.block_elems);
  return weight.n * (format.row_meta_bytes + blocks * format.block_bytes) * 8;
}
int64_t BodyBits(const StoredWeight&, const Trellis& trellis) { return Bits(trellis.tiles) + Bits(trellis.lut); }
int64_t BodyBits(const StoredWeight& weight, const Dense& dense) { return weight.n * weight.k * DTypeBytes(dense.w.dtype) * 8; }
int64_t BodyBits(const StoredWeight& weight, const Custom& custom) {
  return static_cast<int64_t>(static_cast<double>(weight.n * weight.k) * custom.codec->bits_per_weight);
}

int64_t StoredBits(const StoredWeight& weight) {
  int64_t bits = std::visit([&](const auto& body) { return BodyBits(weight, body); }, weight.body);
  bits += Bits(weight.lora_a) + Bits(weight.lora_b);
  for (const auto* transforms : {&weight.in, &weight.out}) {
    for (const Transform& transform : *transforms) bits += Bits(transform.data) + Bits(transform.data2);
  }
  return bits;
}

}  // namespace

std::string Describe(const StoredWeight& weight) {
  std::string text = std::visit([&](const auto& body) { return Words(weight, body); }, weight.body);
  static constexpr const char* kNames[] = {"scaled", "permuted", "hadamard", "givens", "rotated"};
  for (const auto* transforms : {&weight.in, &weight.out}) {
    for (const Transform& transform : *transforms) {
      const char* name = kNames[transform.kind];
      if (text.find(name) == std::string::npos) text += fmt::format(" {}", name);
    }
  }
  if (weight.lora_a) text += fmt::format(" +rank{}", weight.lora_a.dim(0));
  return text;
}

int64_t StoredBytes(const StoredWeight& weight) { return CeilDiv(StoredBits(weight), 8); }

double BitsPerWeight(const StoredWeight& weight) {
  const int64_t weights = weight.n * weight.k;
  return weights == 0 ? 0 : static_cast<double>(StoredBits(weight)) / static_cast<double>(weights);
}

}  // namespace nibble
