// SPDX-License-Identifier: Apache-2.0
// Which weights the two layouts of strip64 hold, and the decoder state of one.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>

#include "formats/plane.h"
#include "kernels/cpu/strip64/pack.h"
#include "tensors/scalar.h"

namespace nibble::strip64 {
namespace {

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

Support SupportsRows(const StoredWeight& w) {
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
    if (ScalesBlockSums(c, s->k)) s->rule = Rule::kScaledSum;
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
  int64_t at = s->dots ? s->steps() * s->step_bytes() : s->k * CodeBytes(s->kind);
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

// ---- dots --------------------------------------------------------------------------------------------------------------------

// The values of a table as bytes: table[u] = unit * (lookup[u] - zero), unit a power of two. False: they are no such numbers.
bool SetLookup(State* s) {
  const int entries = s->kind == CodeKind::kBits2 ? 4 : s->kind == CodeKind::kBits3 ? 8 : 16;
  for (float unit = 1; unit >= 0x1p-10f; unit /= 2) {
    float low = 0, high = 0;
    bool integral = true;
    for (int u = 0; u < entries; ++u) {
      const float t = s->table[u] / unit;
      integral &= t == std::nearbyint(t);
      low = std::min(low, t);
      high = std::max(high, t);
    }
    if (!integral) continue;
    if (high - low > 255) return false;
    s->uses_lookup = true;
    s->unit = unit;
    s->zero = -low;
    s->largest = static_cast<int>(high - low);
    for (int u = 0; u < entries; ++u) s->lookup[u] = static_cast<uint8_t>(s->table[u] / unit - low);
    return true;
  }
  return false;
}

// Any values, rounded to 1/2047 of the largest: bf16, in which the methods' own programs multiply, rounds more.
bool SetWide(State* s) {
  if (s->kind != CodeKind::kBits4 || s->rule != Rule::kScaled) return false;
  float largest = 0;
  for (int u = 0; u < 16; ++u) largest = std::max(largest, std::fabs(s->table[u]));
  if (!(largest > 0x1p-100f && largest < 0x1p100f)) return false;
  s->wide = true;
  s->unit = largest / kWideLargest;
  s->zero = 0;
  s->largest = kWideLargest;
  for (int u = 0; u < 16; ++u) {
    const auto t = static_cast<uint16_t>(static_cast<int16_t>(std::nearbyint(s->table[u] / s->unit)));
    s->wide_low[u] = static_cast<uint8_t>(t & 255);
    s->wide_high[u] = static_cast<uint8_t>(t >> 8);
  }
  return true;
}

// What a table of consecutive integers stands for: u - zero.
bool IsOffset(const State& s, int bits) {
  for (int u = 1; u < (1 << bits); ++u)
    if (s.table[u] != s.table[0] + static_cast<float>(u)) return false;
  return true;
}

int BitsOf(CodeKind kind) { return CodeBytes(kind) / 8; }

// |u - zero| is never more.
int Farthest(const State& s) { return std::max(static_cast<int>(s.zero), s.largest - static_cast<int>(s.zero)); }

// Whether 16 bits hold sums of `columns` products (each of their halves) where |x| is `x` at most.
bool FitsNarrow(const State& s, int x, int columns) { return 2 * x * s.largest <= 32767 && x * Farthest(s) * columns / 2 <= 32767; }

// How the sub-scales of ggml's blocks are kept, where two_level.h has kernels for them. 2^24 bounds its sums: f32 holds them.
SubKind SubKindOf(const State& s, const BlockSplit& split) {
  if (!split.split || !split.has_sub || (split.has_min && !split.has_sub_min)) return SubKind::kNone;
  const bool pair = split.sub_elems == kXStep / 2, positive = split.sub_bits < 8;
  if (!pair && split.sub_elems != kXStep) return SubKind::kNone;
  if (split.has_min) {
    if (s.kind == CodeKind::kBits2 && pair && split.sub_bits <= 4) return SubKind::kNibbles;
    const bool kinds = s.kind == CodeKind::kBits4 || s.kind == CodeKind::kBits5;
    return kinds && !pair && positive ? SubKind::kSubAndMin : SubKind::kNone;
  }
  if (s.uses_lookup) {  // tables of small numbers are as fast with 32 columns a sum and scales that are floats
    if (s.kind != CodeKind::kBits3 || FitsNarrow(s, 127, split.sub_elems)) return SubKind::kNone;
    const bool small = positive && 2 * 127 * s.largest <= 32767 && s.largest * 127 * kXStep * ((1 << split.sub_bits) - 1) < 1 << 24;
    return !small ? SubKind::kNone : pair ? SubKind::kSubPair : SubKind::kSub;
  }
  return pair && (s.kind == CodeKind::kBits3 || s.kind == CodeKind::kBits6) ? SubKind::kSubPair : SubKind::kNone;
}

// Turns the decoder into one of sums of integers, or says why that cannot be. split: of the weight's blocks, or null.
Support MakeDots(State* s, const BlockSplit* split) {
  s->dots = true;
  if (s->kind > CodeKind::kBits8) return {false, "codes that are floating-point numbers"};
  // Records of x take the place of its f32 values (graph/passes.cc), so they must not be longer.
  if (s->k < kXMinK || s->steps() * XRecordBytes(XForm::kI16) > s->k * static_cast<int64_t>(sizeof(float)))
    return {
        false,
        fmt::format("{} columns, whose integers with scales would need more room than floats (64, or 72 and more, do not)", s->k)};
  if (!s->group_of_k.empty()) return {false, "groups of scattered columns (act-order)"};
  if (s->k_phase % kXStep != 0) return {false, fmt::format("a shard that begins {} columns inside a group", s->k_phase % kXStep)};
  if (s->groups > 1 && s->group_elems % kXStep != 0 && s->group_elems != kXStep / 2)
    return {false, fmt::format("groups of {} columns (16, or multiples of 32)", s->group_elems)};
  const int bits = BitsOf(s->kind);
  s->largest = (1 << bits) - 1;
  if (s->uses_table) {
    if (bits > 4) return {false, "a table of more than 16 values"};
    if (IsOffset(*s, bits))
      s->zero = -s->table[0];
    else if (!SetLookup(s) && !SetWide(s))
      return {false, "a table of values that are no small integers, and not of 16"};
  }
  if (split) s->subs = SubKindOf(*s, *split);
  if (s->subs != SubKind::kNone) s->has_sub = s->has_sub_min = false;  // they lie beside the codes
  if (s->rule != Rule::kScaled) s->zero = s->subs == SubKind::kNone ? static_cast<float>(1 << (bits - 1)) : 0.0f;
  if (s->zero != std::nearbyint(s->zero) || s->zero < 0 || s->zero > 255)
    return {false, fmt::format("a zero point of {}", s->zero)};
  // Sums of 16 columns where the scales change, or where those of 32 do not fit 16 bits but those of 16 do.
  const bool short_sums = Farthest(*s) > 16 && Farthest(*s) <= 32;
  s->sum_columns = (s->groups > 1 && s->group_elems == kXStep / 2) || short_sums ? kXStep / 2 : kXStep;
  if (s->wide && s->sum_columns != kXStep) return {false, "a table of values that are no small integers, in groups of 16"};
  return {};
}

const BlockSplit* SplitOf(const StoredWeight& w) { return std::holds_alternative<Blocked>(w.body) ? w.format->split : nullptr; }

State MakeFloats(const StoredWeight& w) {
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
  return s;
}

Support SupportsDots(const StoredWeight& w) {
  const Support support = SupportsRows(w);
  if (!support.ok) return support;
  if (std::holds_alternative<Dense>(w.body)) return {false, "values that are no codes"};
  State s = MakeFloats(w);
  return MakeDots(&s, SplitOf(w));
}

// 8-bit x are read as such where the processor has a dot product of bytes, or where 16 bits hold what AVX2 and AVX-512 BW sum in
// them: two products, and the half of a sum (kernels/cpu/dot_avx2.h).
XForm FormOf(const StoredWeight& w, const ActivationSpec& act, Isa isa) {
  if (act.code != DType::kI8 || !act.symmetric || act.zero != 0) return XForm::kI16;
  const bool narrow = isa == Isa::kAvx2 || isa == Isa::kAvx512;
  const State s = MakeState(w, true);
  if (s.wide) return XForm::kI16;
  if (!narrow && s.subs == SubKind::kNone) return XForm::kI8;  // with sub-scales, all sum in the same order
  const int x = act.rule == ActivationSpec::kEngine && act.dynamic ? 127 : 128;
  if (s.subs == SubKind::kNone) return FitsNarrow(s, x, s.sum_columns) ? XForm::kI8 : XForm::kI16;
  return x == 127 ? XForm::kI8 : XForm::kI16;
}

template <bool dots>
std::shared_ptr<const void> Prepare(const StoredWeight& w) {
  return std::make_shared<State>(MakeState(w, dots));
}

template <bool dots>
int64_t PackedBytes(const StoredWeight& w) {
  return MakeState(w, dots).strip_bytes * CeilDiv(w.n, kStripRows);
}

}  // namespace

State MakeState(const StoredWeight& w, bool dots) {
  State s = MakeFloats(w);
  if (dots) MakeDots(&s, SplitOf(w));
  SetOffsets(&s);
  return s;
}

const LayoutRow& Layout() {
  static const LayoutRow row = {"strip64", 1, SupportsRows, PackedBytes<false>, PackRows, Prepare<false>};
  return row;
}

const LayoutRow& DotLayout() {
  static const LayoutRow row = {"strip64d", 4, SupportsDots, PackedBytes<true>, PackDots, Prepare<true>, FormOf};
  return row;
}

}  // namespace nibble::strip64
