// SPDX-License-Identifier: Apache-2.0
// StoredWeight -> strip64 bytes: which weights fit, the decoder state, and the packing of a strip.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>

#include "formats/plane.h"
#include "kernels/cpu/strip64/layout.h"
#include "tensors/scalar.h"

namespace nibble::strip64 {
namespace {

constexpr int64_t kChunk = 256;  // columns read at once while packing: 64 x 256 codes are 16 KiB

int64_t BodyRow(const StoredWeight& w, int64_t row) {
  return w.row_map ? static_cast<int64_t>(LoadScalar(w.row_map.dtype, w.row_map.data, row * w.row_map.stride[0])) : row;
}

// ---- which weights fit -------------------------------------------------------------------------------------------------------

std::optional<CodeKind> IntKind(int bits) {
  switch (bits) {
    case 1:
    case 2: return CodeKind::kBits2;
    case 3: return CodeKind::kBits3;
    case 4: return CodeKind::kBits4;
    case 5: return CodeKind::kBits5;
    case 6: return CodeKind::kBits6;
    case 7:
    case 8: return CodeKind::kBits8;
    default: return std::nullopt;
  }
}

// Columns of the finest group that all planes share; 0: one group. nullopt: planes that no common group describes.
std::optional<int64_t> GroupElems(const Coded& c, int64_t k) {
  int64_t elems = 0;
  const Plane* planes[] = {&c.scale, c.zero ? &*c.zero : nullptr, c.scale2 ? &*c.scale2 : nullptr};
  for (const Plane* plane : planes) {
    if (!plane || plane->block_k == 0) continue;
    if (plane->flat && (plane->flat_k % plane->block_k != 0 || plane->flat_k0 % plane->block_k != 0)) return std::nullopt;
    elems = std::gcd(elems, plane->block_k);
  }
  return elems >= k + c.k_phase ? 0 : elems;
}

Support SupportsCoded(const Coded& c, int64_t k) {
  if (c.rule == ValueRule::kRowTable) return {false, "a value table per row (strip64 has one table per matrix)"};
  if (c.rule != ValueRule::kFloat && !IntKind(c.codes.bits)) return {false, fmt::format("{} bits per code (1..8)", c.codes.bits)};
  if (c.rule == ValueRule::kTable && c.codes.bits > 8)
    return {false, fmt::format("a table of 2^{} values (at most 256)", c.codes.bits)};
  if (!GroupElems(c, k)) return {false, "scale blocks that straddle rows"};
  return {};
}

Support Supports(const StoredWeight& w) {
  if (const auto* coded = std::get_if<Coded>(&w.body)) return SupportsCoded(*coded, w.k);
  if (std::holds_alternative<Dense>(w.body)) return {};
  if (std::holds_alternative<Blocked>(w.body)) {
    if (w.format->split) return {};
    return {false, fmt::format("format {} gives no codes and scales (BlockSplit)", w.format->name)};
  }
  return {false, fmt::format("body of format {} (allowed: coded, dense, ggml blocks)", w.format->name)};
}

// ---- decoder state -----------------------------------------------------------------------------------------------------------

// Planes whose stored values are the values: their dtype is kept in the strip, everything else becomes f32.
DType StripDType(const Plane& plane) {
  const bool plain = !plane.packed && !plane.table && plane.multiplier == 1 && !plane.reciprocal && !plane.flat;
  if (plain && (plane.data.dtype == DType::kF16 || plane.data.dtype == DType::kBF16)) return plane.data.dtype;
  return DType::kF32;
}

void SetTable(State* s, int bits, const std::function<float(int)>& value) {
  s->uses_table = true;
  for (int u = 0; u < (1 << bits); ++u) s->table[u] = value(u);
}

void PrepareCoded(const Coded& c, State* s) {
  s->group_elems = *GroupElems(c, s->k);
  s->k_phase = c.k_phase;
  if (c.group_of_k) {
    s->group_of_k.resize(static_cast<size_t>(s->k));
    for (int64_t i = 0; i < s->k; ++i)
      s->group_of_k[static_cast<size_t>(i)] =
          static_cast<int32_t>(LoadScalar(c.group_of_k.dtype, c.group_of_k.data, i * c.group_of_k.stride[0]));
    const auto top = std::max_element(s->group_of_k.begin(), s->group_of_k.end());
    s->groups = top == s->group_of_k.end() ? 1 : *top + 1;
  } else {
    s->groups = s->group_elems ? CeilDiv(s->k + s->k_phase, s->group_elems) : 1;
  }
  s->scale_dtype = c.scale2 ? DType::kF32 : StripDType(c.scale);
  s->rule = Rule::kScaled;
  s->zero = c.zero_default;
  const int bits = c.codes.bits;
  if (c.rule == ValueRule::kFloat && c.float_type == DType::kE4M3) {
    s->kind = CodeKind::kE4M3;
    return;
  }
  if (c.rule == ValueRule::kFloat && c.float_type == DType::kE5M2) {
    s->kind = CodeKind::kE5M2;
    return;
  }
  s->kind = *IntKind(bits);
  if (c.rule == ValueRule::kFloat) {
    SetTable(s, bits, [&](int u) { return DecodeSmallFloat(c.float_type, static_cast<uint8_t>(u)); });
  } else if (c.rule == ValueRule::kTable) {
    SetTable(s, bits, [&](int u) { return LoadScalar(c.table.dtype, c.table.data, u); });
  } else if (c.zero) {
    s->rule = c.rule == ValueRule::kIntPlusBias ? Rule::kPlusBias : Rule::kMinusZero;
    // Zero points of narrow integers are small integers themselves; wider and real ones keep f32.
    s->zero_dtype = c.zero->packed && c.zero->packed->bits <= 4 && s->rule == Rule::kMinusZero ? DType::kU8 : StripDType(*c.zero);
  } else if (bits <= 4) {
    SetTable(s, bits,
             [&](int u) { return static_cast<float>(u) - c.zero_default; });  // one permute instead of convert and subtract
  }
}

void PrepareBlocked(const StoredWeight& w, State* s) {
  const BlockSplit& split = *w.format->split;
  const int64_t block = w.format->block_elems;
  s->kind = *IntKind(split.bits);
  s->k_phase = std::get<Blocked>(w.body).k_phase % block;
  const int64_t subs = block / split.sub_elems;
  s->group_elems = split.sub_elems;
  s->groups = CeilDiv(s->k + s->k_phase, block) * subs;
  s->rule = split.has_min ? Rule::kPlusBias : Rule::kScaled;
  if (split.split) {
    s->subs_per_super = static_cast<int>(subs);
    s->has_sub = split.has_sub;
    s->has_sub_min = split.has_sub_min;
    s->scale_dtype = s->zero_dtype = DType::kF16;
  }
  s->zero = static_cast<float>(split.zero);
  if (split.table)
    SetTable(s, split.bits, [&](int u) { return split.unit * static_cast<float>(split.table[u]); });
  else if (split.bits <= 4 && !split.has_min)
    SetTable(s, split.bits, [&](int u) { return static_cast<float>(u - split.zero); });
}

void SetOffsets(State* s) {
  const int64_t levels = s->subs_per_super ? s->supers() : s->groups;
  int64_t at = s->k * CodeBytes(s->kind);
  const auto reserve = [&](bool used, int64_t rows, int bytes) {
    const int64_t offset = at;
    if (used) at += rows * kStripRows * bytes;
    return offset;
  };
  const bool has_zero = s->rule == Rule::kMinusZero || s->rule == Rule::kPlusBias;
  s->scale_offset = reserve(s->rule != Rule::kPlain, levels, DTypeBytes(s->scale_dtype));
  s->zero_offset = reserve(has_zero, levels, DTypeBytes(s->zero_dtype));
  s->sub_offset = reserve(s->has_sub, s->groups, 1);
  s->sub_min_offset = reserve(s->has_sub_min, s->groups, 1);
  s->strip_bytes = RoundUp(at, 64);
}

State MakeState(const StoredWeight& w) {
  State s;
  s.k = w.k;
  if (const auto* coded = std::get_if<Coded>(&w.body)) {
    PrepareCoded(*coded, &s);
  } else if (std::holds_alternative<Blocked>(w.body)) {
    PrepareBlocked(w, &s);
  } else {
    const DType dtype = std::get<Dense>(w.body).w.dtype;
    s.kind = dtype == DType::kF16 ? CodeKind::kF16 : dtype == DType::kBF16 ? CodeKind::kBF16 : CodeKind::kF32;
    s.groups = 1;
  }
  SetOffsets(&s);
  return s;
}

std::shared_ptr<const void> Prepare(const StoredWeight& w) { return std::make_shared<State>(MakeState(w)); }

int64_t PackedBytes(const StoredWeight& w) { return MakeState(w).strip_bytes * CeilDiv(w.n, kStripRows); }

// ---- packing -----------------------------------------------------------------------------------------------------------------

// Codes of 64 rows of one column -> CodeBytes(kind) bytes. `codes` is [64] for this column.
void PackColumn(CodeKind kind, const uint8_t* codes, std::byte* out_bytes) {
  auto* out = reinterpret_cast<uint8_t*>(out_bytes);
  const auto plane4 = [&](uint8_t* p) {
    for (int i = 0; i < 32; ++i) p[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[32 + i] & 15) << 4);
  };
  const auto plane2 = [&](uint8_t* p, int shift) {
    for (int i = 0; i < 16; ++i) {
      const auto field = [&](int j) { return (codes[16 * j + i] >> shift) & 3; };
      p[i] = static_cast<uint8_t>(field(0) | field(1) << 2 | field(2) << 4 | field(3) << 6);
    }
  };
  const auto plane1 = [&](uint8_t* p, int shift) {
    for (int i = 0; i < 64; ++i) p[i / 8] = static_cast<uint8_t>(p[i / 8] | ((codes[i] >> shift) & 1) << (i % 8));
  };
  switch (kind) {
    case CodeKind::kBits2: return plane2(out, 0);
    case CodeKind::kBits3: plane2(out, 0); return plane1(out + 16, 2);
    case CodeKind::kBits4: return plane4(out);
    case CodeKind::kBits5: plane4(out); return plane1(out + 32, 4);
    case CodeKind::kBits6: plane4(out); return plane2(out + 32, 4);
    default: std::memcpy(out, codes, 64);
  }
}

struct StripWriter {
  const StoredWeight& w;
  const State& s;
  std::byte* out;  // this strip
  int64_t row0, rows;

  tl::unexpected<Error> Bad(int64_t row, const char* what, float value) const {
    return Corrupt("{}: tensor \"{}\": {} of row {} is {}; the file is damaged or was quantized from a broken model", w.origin.file,
                   w.origin.tensor, what, row, value);
  }

  Status Values(int64_t offset, DType dtype, int64_t r, int64_t count, const float* values, const char* what) const {
    for (int64_t g = 0; g < count; ++g) {
      if (!std::isfinite(values[g])) return Bad(row0 + r, what, values[g]);
      StoreScalar(dtype, out + offset, g * kStripRows + r, values[g]);
    }
    return {};
  }

  // One f32 per group of a plane of row n.
  void Groups(const Coded& c, const Plane* plane, int64_t n, std::vector<float>* values) const {
    values->resize(static_cast<size_t>(s.groups));
    const bool simple =
        plane && !plane->flat && (plane->block_k == 0) == (s.groups == 1) && (plane->block_k == s.group_elems || c.group_of_k);
    if (simple)
      return ReadPlaneGroups(*plane, plane->block_n ? (n + c.n_phase) / plane->block_n : 0, {0, s.groups}, values->data());
    for (int64_t g = 0; g < s.groups; ++g) {
      int64_t k = s.group_elems ? std::max<int64_t>(0, g * s.group_elems - s.k_phase) : 0;
      if (c.group_of_k) {  // any column of the group; a group without columns has no value to keep
        const auto it = std::find(s.group_of_k.begin(), s.group_of_k.end(), static_cast<int32_t>(g));
        if (it == s.group_of_k.end()) {
          (*values)[static_cast<size_t>(g)] = 0;
          continue;
        }
        k = it - s.group_of_k.begin();
      }
      float* value = values->data() + g;
      plane ? ReadPlane(c, *plane, n, {k, k + 1}, value) : ReadScales(c, n, {k, k + 1}, value);
    }
  }

  Status CodedStrip(const Coded& c) const {
    std::vector<float> values;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t n = BodyRow(w, row0 + r);
      Groups(c, c.scale2 ? nullptr : &c.scale, n, &values);
      NIBBLE_RETURN_IF_ERROR(Values(s.scale_offset, s.scale_dtype, r, s.groups, values.data(), "a scale"));
      if (s.rule != Rule::kMinusZero && s.rule != Rule::kPlusBias) continue;
      Groups(c, &*c.zero, n, &values);
      NIBBLE_RETURN_IF_ERROR(Values(s.zero_offset, s.zero_dtype, r, s.groups, values.data(), "a zero point"));
    }
    std::vector<uint8_t> codes(static_cast<size_t>(kStripRows * kChunk));
    for (int64_t k = 0; k < s.k; k += kChunk) {
      const Range range{k, std::min(k + kChunk, s.k)};
      for (int64_t r = 0; r < rows; ++r) {
        uint8_t* row = codes.data() + r * kChunk;
        const int64_t n = BodyRow(w, row0 + r);
        c.codes.read(c.codes, {n, n + 1}, range, row);
        if (s.kind == CodeKind::kE4M3)
          for (int64_t i = 0; i < range.size(); ++i)
            if ((row[i] & 0x7f) == 0x7f) return Bad(row0 + r, "a weight", std::nanf(""));
      }
      WriteColumns(codes.data(), range);
    }
    return {};
  }

  void WriteColumns(const uint8_t* codes /*[rows][kChunk]*/, Range k) const {
    uint8_t column[kStripRows] = {};
    for (int64_t i = 0; i < k.size(); ++i) {
      for (int64_t r = 0; r < rows; ++r) column[r] = codes[r * kChunk + i];
      PackColumn(s.kind, column, out + (k.begin + i) * CodeBytes(s.kind));
    }
  }

  Status BlockedStrip(const Blocked& b) const {
    const Format& format = *w.format;
    const int64_t block = format.block_elems;
    std::vector<uint8_t> codes(static_cast<size_t>(kStripRows * kChunk), 0), unpacked(static_cast<size_t>(block));
    for (int64_t super = 0; super < CeilDiv(s.k + s.k_phase, block); ++super) {
      // Columns of this block that the slice holds.
      const Range k{std::max<int64_t>(0, super * block - s.k_phase), std::min((super + 1) * block - s.k_phase, s.k)};
      const int64_t skip = k.begin + s.k_phase - super * block;
      for (int64_t r = 0; r < rows; ++r) {
        const std::byte* row = b.blocks.data + BodyRow(w, row0 + r) * b.blocks.stride[0];
        const std::byte* data = row + format.row_meta_bytes + (b.k_phase / block + super) * format.block_bytes;
        NIBBLE_RETURN_IF_ERROR(format.split->split ? TwoLevelBlock(data, super, r, unpacked.data())
                                                   : ScaledBlock(row, data, super, r, unpacked.data()));
        std::memcpy(codes.data() + r * kChunk, unpacked.data() + skip, static_cast<size_t>(k.size()));
      }
      WriteColumns(codes.data(), k);
    }
    return {};
  }

  // The scales of one block go to the strip, its codes to `codes` [block_elems].
  Status TwoLevelBlock(const std::byte* data, int64_t super, int64_t r, uint8_t* codes) const {
    const int64_t subs = s.subs_per_super;
    int8_t sub[kChunk];
    uint8_t sub_min[kChunk];
    uint16_t d = 0, dmin = 0;
    w.format->split->split(data, codes, &d, &dmin, sub, sub_min);
    if (!std::isfinite(F16ToF32(d)) || !std::isfinite(F16ToF32(dmin))) return Bad(row0 + r, "a block scale", F16ToF32(d));
    std::memcpy(out + s.scale_offset + (super * kStripRows + r) * 2, &d, 2);
    if (s.rule == Rule::kPlusBias) std::memcpy(out + s.zero_offset + (super * kStripRows + r) * 2, &dmin, 2);
    for (int64_t i = 0; i < subs; ++i) {
      const int64_t at = (super * subs + i) * kStripRows + r;
      if (s.has_sub) out[s.sub_offset + at] = static_cast<std::byte>(sub[i]);
      if (s.has_sub_min) out[s.sub_min_offset + at] = static_cast<std::byte>(sub_min[i]);
    }
    return {};
  }
  Status ScaledBlock(const std::byte* row, const std::byte* data, int64_t super, int64_t r, uint8_t* codes) const {
    const int64_t subs = w.format->block_elems / s.group_elems;
    float scale[kChunk];
    w.format->split->split_scales(row, data, codes, scale);
    for (int64_t i = 0; i < subs; ++i) {
      if (!std::isfinite(scale[i])) return Bad(row0 + r, "a block scale", scale[i]);
      StoreScalar(DType::kF32, out + s.scale_offset, (super * subs + i) * kStripRows + r, scale[i]);
    }
    return {};
  }

  Status DenseStrip(const Dense& dense) const {
    const int bytes = DTypeBytes(dense.w.dtype);
    for (int64_t r = 0; r < rows; ++r) {
      const std::byte* row = dense.w.data + BodyRow(w, row0 + r) * dense.w.stride[0] * bytes;
      const int64_t step = dense.w.stride[1] * bytes;
      for (int64_t k = 0; k < s.k; ++k) std::memcpy(out + (k * kStripRows + r) * bytes, row + k * step, static_cast<size_t>(bytes));
    }
    return {};
  }
};

Status Pack(const StoredWeight& w, Range strips, std::byte* out) {
  const State s = MakeState(w);
  for (int64_t strip = strips.begin; strip < strips.end; ++strip) {
    const int64_t row0 = strip * kStripRows;
    const StripWriter writer{w, s, out + strip * s.strip_bytes, row0, std::min(kStripRows, w.n - row0)};
    if (const auto* coded = std::get_if<Coded>(&w.body))
      NIBBLE_RETURN_IF_ERROR(writer.CodedStrip(*coded));
    else if (const auto* blocked = std::get_if<Blocked>(&w.body))
      NIBBLE_RETURN_IF_ERROR(writer.BlockedStrip(*blocked));
    else
      NIBBLE_RETURN_IF_ERROR(writer.DenseStrip(std::get<Dense>(w.body)));
  }
  return {};
}

}  // namespace

const LayoutRow& Layout() {
  static const LayoutRow row = {"strip64", 1, Supports, PackedBytes, Pack, Prepare};
  return row;
}

}  // namespace nibble::strip64
