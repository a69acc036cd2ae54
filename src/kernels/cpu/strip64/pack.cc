// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/plane.h"
#include "kernels/cpu/strip64/pack.h"
#include "tensors/scalar.h"

namespace nibble::strip64 {
namespace {

constexpr int64_t kChunk = 256;  // columns read at once while packing: 64 x 256 codes are 16 KiB

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

// Codes of 32 columns of one row -> its lanes of a unit; `lanes` is the row's first. Bytes of a word are columns, so four are moved
// at a time.
template <CodeKind kind>
inline void PackLanes(const uint8_t* codes, std::byte* lanes) {
  uint32_t quad[8];
  std::memcpy(quad, codes, sizeof quad);
  const auto put = [&](int chunk, uint32_t word) { std::memcpy(lanes + chunk * 64, &word, 4); };
  // Bits [from, from + width) of quad q, moved to bit `to`.
  const auto bits = [&](int q, int from, int width, int to) { return (quad[q] >> from & 0x01010101u * ((1u << width) - 1)) << to; };
  if constexpr (kind == CodeKind::kBits2) {
    for (int c = 0; c < 2; ++c) {
      uint32_t word = 0;
      for (int f = 0; f < 4; ++f) word |= bits(4 * c + f, 0, 2, 2 * f);
      put(c, word);
    }
  } else if constexpr (kind == CodeKind::kBits3) {
    for (int c = 0; c < 3; ++c) put(c, bits(2 * c, 0, 3, 0) | bits(2 * c + 1, 0, 3, 4) | bits(6, c, 1, 3) | bits(7, c, 1, 7));
  } else if constexpr (kind == CodeKind::kBits4) {
    for (int c = 0; c < 4; ++c) put(c, bits(2 * c, 0, 4, 0) | bits(2 * c + 1, 0, 4, 4));
  } else if constexpr (kind == CodeKind::kBits5) {
    for (int i = 0; i < 2; ++i) {
      put(2 * i, bits(2 * i, 0, 5, 0) | bits(5 + i, 0, 3, 5));
      put(2 * i + 1, bits(2 * i + 1, 0, 5, 0) | bits(5 + i, 3, 2, 5) | bits(7, 3 + i, 1, 7));
    }
    put(4, bits(4, 0, 5, 0) | bits(7, 0, 3, 5));
  } else if constexpr (kind == CodeKind::kBits6) {
    for (int c = 0; c < 6; ++c) put(c, bits(c, 0, 6, 0) | bits(6 + c / 3, c % 3 * 2, 2, 6));
  } else {
    for (int c = 0; c < 8; ++c) put(c, quad[c]);
  }
}

// Codes [rows][kChunk] of `steps` steps -> their units, from the first step's first byte on. Steps outside rows: a line of the
// output is written by 16 rows one after the other.
template <CodeKind kind>
void PackUnits(const uint8_t* codes, int64_t rows, int64_t steps, const State& s, std::byte* out) {
  for (int64_t step = 0; step < steps; ++step)
    for (int64_t r = 0; r < rows; ++r)
      PackLanes<kind>(codes + r * kChunk + step * kXStep,
                      out + step * s.step_bytes() + UnitOffset(kind, s.subs, r / 16) + r % 16 * 4);
}

void PackUnits(CodeKind kind, const uint8_t* codes, int64_t rows, int64_t steps, const State& s, std::byte* out) {
  switch (kind) {
    case CodeKind::kBits2: return PackUnits<CodeKind::kBits2>(codes, rows, steps, s, out);
    case CodeKind::kBits3: return PackUnits<CodeKind::kBits3>(codes, rows, steps, s, out);
    case CodeKind::kBits4: return PackUnits<CodeKind::kBits4>(codes, rows, steps, s, out);
    case CodeKind::kBits5: return PackUnits<CodeKind::kBits5>(codes, rows, steps, s, out);
    case CodeKind::kBits6: return PackUnits<CodeKind::kBits6>(codes, rows, steps, s, out);
    default: return PackUnits<CodeKind::kBits8>(codes, rows, steps, s, out);
  }
}

// Values of one row -> one in each column of a strip.
template <typename T>
void Spread(const std::byte* from, int64_t step, int64_t count, std::byte* to) {
  for (int64_t i = 0; i < count; ++i, from += step, to += kStripRows * sizeof(T)) std::memcpy(to, from, sizeof(T));
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
      // All rows at once where their codes lie kChunk apart: words of some packings hold a column of several rows.
      const bool at_once = !w.row_map && range.size() == kChunk;
      if (at_once) c.codes.read(c.codes, {row0, row0 + rows}, range, codes.data());
      for (int64_t r = 0; r < rows; ++r) {
        uint8_t* row = codes.data() + r * kChunk;
        const int64_t n = BodyRow(w, row0 + r);
        if (!at_once) c.codes.read(c.codes, {n, n + 1}, range, row);
        if (s.kind == CodeKind::kE4M3)
          for (int64_t i = 0; i < range.size(); ++i)
            if ((row[i] & 0x7f) == 0x7f) return Bad(row0 + r, "a weight", std::nanf(""));
      }
      WriteColumns(codes.data(), range);
    }
    return {};
  }

  // k begins at a multiple of 32 where the order is dots.
  void WriteColumns(uint8_t* codes /*[rows][kChunk]*/, Range k) const {
    if (s.dots) return WriteSteps(codes, k);
    uint8_t column[kStripRows] = {};
    for (int64_t i = 0; i < k.size(); ++i) {
      for (int64_t r = 0; r < rows; ++r) column[r] = codes[r * kChunk + i];
      PackColumn(s.kind, column, out + (k.begin + i) * CodeBytes(s.kind));
    }
  }

  void WriteSteps(uint8_t* codes, Range k) const {
    const int64_t steps = CeilDiv(k.size(), kXStep), after = steps * kXStep - k.size();
    if (after > 0)
      for (int64_t r = 0; r < rows; ++r) std::memset(codes + r * kChunk + k.size(), 0, static_cast<size_t>(after));
    if (s.wide)
      for (int64_t i = 0; i < rows * kChunk; i += 4) std::swap(codes[i + 1], codes[i + 2]);
    PackUnits(s.kind, codes, rows, steps, s, out + k.begin / kXStep * s.step_bytes());
  }

  // 64 rows are 64 streams, too many for the processor to foresee: while one chunk of a row is read, the next is asked for.
  Status BlockedStrip(const Blocked& b) const {
    const Format& format = *w.format;
    const int64_t block = format.block_elems, supers = CeilDiv(s.k + s.k_phase, block), per_chunk = kChunk / block;
    std::vector<uint8_t> codes(static_cast<size_t>(kStripRows * kChunk), 0), unpacked(static_cast<size_t>(block));
    for (int64_t first = 0; first < supers; first += per_chunk) {
      const int64_t end = std::min(first + per_chunk, supers);
      // Columns of these blocks that the slice holds.
      const Range k{std::max<int64_t>(0, first * block - s.k_phase), std::min(end * block - s.k_phase, s.k)};
      for (int64_t r = 0; r < rows; ++r) {
        const std::byte* row = b.blocks.data + BodyRow(w, row0 + r) * b.blocks.stride[0];
        const std::byte* data = row + format.row_meta_bytes + (b.k_phase / block + first) * format.block_bytes;
        for (int64_t i = 0; i < (end - first) * format.block_bytes; i += 64)
          __builtin_prefetch(data + per_chunk * format.block_bytes + i);
        for (int64_t super = first; super < end; ++super, data += format.block_bytes) {
          // The columns of this block, as places in the chunk; the first and the last block of a slice may be cut.
          const int64_t at = super * block - s.k_phase - k.begin, skip = std::max<int64_t>(0, -at);
          const int64_t count = std::min(block, k.size() - at) - skip;
          uint8_t* to = codes.data() + r * kChunk + at + skip;
          const bool whole = count == block;
          uint8_t* split = whole ? to : unpacked.data();
          NIBBLE_RETURN_IF_ERROR(format.split->split ? TwoLevelBlock(data, super, r, split)
                                                     : ScaledBlock(row, data, super, r, split));
          if (!whole) std::memcpy(to, split + skip, static_cast<size_t>(count));
        }
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
      if (s.subs != SubKind::kNone) SubScales(super * subs + i, r, sub[i], sub_min[i]);
      if (s.has_sub) out[s.sub_offset + at] = static_cast<std::byte>(sub[i]);
      if (s.has_sub_min) out[s.sub_min_offset + at] = static_cast<std::byte>(sub_min[i]);
    }
    return {};
  }
  // The integer scales of one group and row go beside their step's codes; a slice's first and last block may be cut.
  void SubScales(int64_t group, int64_t r, int8_t sub, uint8_t sub_min) const {
    const int64_t column = group * s.group_elems - s.k_phase;
    if (column < 0 || column >= s.steps() * kXStep) return;
    const bool last = column % kXStep != 0;
    std::byte* at = out + column / kXStep * s.step_bytes() + SubOffset(s.kind, s.subs, r / 16) + r % 16 * UnitSubBytes(s.subs) / 16;
    switch (s.subs) {
      case SubKind::kSub: at[0] = static_cast<std::byte>(sub); break;
      case SubKind::kSubPair: at[last] = static_cast<std::byte>(sub); break;
      case SubKind::kNibbles: at[last] = static_cast<std::byte>(sub | sub_min << 4); break;
      case SubKind::kSubAndMin:
        at[0] = static_cast<std::byte>(sub);
        at[1] = static_cast<std::byte>(sub_min);
        break;
      case SubKind::kNone: break;
    }
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

  // Some columns of all rows at a time: that part of the strip stays in L1 while the rows' values go into it.
  Status DenseStrip(const Dense& dense) const {
    constexpr int64_t kColumns = 32;
    const int bytes = DTypeBytes(dense.w.dtype);
    const int64_t step = dense.w.stride[1] * bytes;
    for (int64_t k = 0; k < s.k; k += kColumns)
      for (int64_t r = 0; r < rows; ++r) {
        const std::byte* from = dense.w.data + BodyRow(w, row0 + r) * dense.w.stride[0] * bytes + k * step;
        std::byte* to = out + (k * kStripRows + r) * bytes;
        const int64_t count = std::min(kColumns, s.k - k);
        __builtin_prefetch(from + kColumns * step);
        bytes == 2 ? Spread<uint16_t>(from, step, count, to) : Spread<uint32_t>(from, step, count, to);
      }
    return {};
  }
};

Status Pack(const StoredWeight& w, const State& s, Range strips, std::byte* out) {
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

Status PackRows(const StoredWeight& w, Range strips, std::byte* out) { return Pack(w, MakeState(w, false), strips, out); }
Status PackDots(const StoredWeight& w, Range strips, std::byte* out) { return Pack(w, MakeState(w, true), strips, out); }

}  // namespace nibble::strip64
