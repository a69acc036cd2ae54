// SPDX-License-Identifier: Apache-2.0
// Weights whose scales are small integers times one float (ggml's k-quants and iq), with 8-bit x: the integers are part of the
// exact sums, so 32 columns become a float once, whatever the groups are. With the sub-scales s and minimums m of the two halves of
// a step, x's codes c and the sum C of a half's codes, w = d * s * (u - zero) - dmin * m gives
//
//   I = sum over halves of s * sum (u - zero) c         J = sum over halves of m * C         y += x.scale * (d * I - dmin * J)
//
// where codes have minimums, zero is 0. A table's values are counted from 0 too, and zero * (sum of s * C) is taken off I at the
// end: no start of a sum fits the columns that 16 bits hold. All is exact (state.cc: SubKindOf). Included by dots.h.
#pragma once

namespace nibble::strip64 {
namespace {

// What J is made of, and when u becomes u - zero.
enum class Centre : uint8_t { kMinimums, kStart, kAfter };
constexpr Centre CentreOf(SubKind subs, bool lookup) {
  if (subs == SubKind::kSubAndMin || subs == SubKind::kNibbles) return Centre::kMinimums;
  return lookup ? Centre::kAfter : Centre::kStart;
}

// Columns of one sum of Dot.
template <typename Dot>
constexpr int TwoLevelColumns(CodeKind kind, SubKind subs, bool lookup) {
  if (!Dot::kNarrow) return subs == SubKind::kSub || subs == SubKind::kSubAndMin ? 32 : 16;
  return NarrowColumns(kind, subs, lookup);
}

template <CodeKind kind, SubKind subs>
inline const std::byte* SubsAt(const std::byte* step, int unit) {
  return step + kXStep * CodeBytes(kind) + unit * UnitSubBytes(subs);
}

// Of 16 rows and one step: the sub-scales of its halves, and what J is made of. No struct of the three: g++ copies it by words.
template <SubKind subs>
inline void LoadSubs(const std::byte* at, Pairs16* first, Pairs16* second, Pairs16* other) {
  if constexpr (subs == SubKind::kSub) {
    *first = *second = *other = Pairs16::LoadTwice(at);
  } else if constexpr (subs == SubKind::kNibbles) {
    Pairs16 both;
    Pairs16::LoadNibbles(at, &both, other);
    *first = both.template Twice<0>();
    *second = both.template Twice<1>();
  } else {
    const Pairs16 both = Pairs16::LoadI8(at);
    *first = *second = both.template Twice<0>();
    if constexpr (subs == SubKind::kSubPair) *second = both.template Twice<1>();
    if constexpr (subs == SubKind::kSubPair) *other = both;
    if constexpr (subs == SubKind::kSubAndMin) *other = both.template Twice<1>();
  }
}

// d and -dmin of the super block that holds `group`; asks for the next one's.
inline void LoadSuper(const State& s, const std::byte* strip, int64_t group, Terms* terms) {
  const int64_t super = group / s.subs_per_super, next = super + 1;
  const std::byte* ahead = next < s.supers() ? strip + next * kStripRows * 2 : strip + s.strip_bytes;
  for (int i = 0; i < kVectors; ++i) {
    terms->scale[i] = LoadValues(DType::kF16, strip + s.scale_offset, super * kStripRows + 16 * i) * F32x16::Set(s.unit);
    if (s.rule == Rule::kPlusBias)
      terms->zero[i] = F32x16::Zero() - LoadValues(DType::kF16, strip + s.zero_offset, super * kStripRows + 16 * i);
  }
  for (int64_t line = 0; line < kStripRows * 2; line += 64) {
    __builtin_prefetch(ahead + s.scale_offset + line);
    if (s.rule == Rule::kPlusBias) __builtin_prefetch(ahead + s.zero_offset + line);
  }
}

// others: what J is made of; offset: -dmin, or -zero.
template <Centre centre>
inline F32x16 AddInts(Ints16 ints, const Pairs16& others, const XHeader& x, F32x16 d, F32x16 offset, F32x16 sum) {
  F32x16 value = ints.ToF32();
  if constexpr (centre == Centre::kAfter) value = F32x16::Fma(others.Times(x.half).ToF32(), offset, value);
  value = value * d;
  if constexpr (centre == Centre::kMinimums) value = F32x16::Fma(others.Times(x.half).ToF32(), offset, value);
  return F32x16::Fma(value, F32x16::Set(x.scale), sum);
}

// I of one step (kAfter: with u for u - zero) for some rows of x and NV units of 16 rows of W, ints [rows][NV]. load(quad, unit):
// four columns of a unit; factor(half, unit): its sub-scales, twice each.
template <Centre centre, typename Dot, int sum_columns, int rows, int NV, typename Load, typename Factor>
inline void StepInts(const std::byte* x, int zero, const Load& load, const Factor& factor, Ints16* ints) {
  constexpr int64_t record = XRecordBytes(XForm::kI8);
  constexpr int quads = sum_columns / 4;
  Unroll<kQuads / quads>([&](auto part) {
    constexpr int first = decltype(part)::value * quads;
    Dot dot[rows * NV];
    if constexpr (centre == Centre::kStart)
      Unroll<rows>([&](auto r) {
        const Dot start = Dot::Start(HeaderOf(x + r * record), sum_columns == 32 ? 0 : 1 + part, zero);
        Unroll<NV>([&](auto v) { dot[r * NV + v] = start; });
      });
    Unroll<quads>([&](auto i) {
      constexpr int q = first + decltype(i)::value;
      Bytes64 w[NV];
      Unroll<NV>([&](auto v) { w[v] = load(std::integral_constant<int, q>{}, v); });
      Unroll<rows * NV>([&](auto j) {
        const std::byte* at = x + j / NV * record + kXHeaderBytes + 4 * q;
        if constexpr (centre != Centre::kStart && q == first)
          dot[j] = Dot::First(w[j % NV], at);
        else
          dot[j] = dot[j].Plus(w[j % NV], at);
      });
    });
    Unroll<NV>([&](auto v) {
      const Pairs16 sub = factor(std::integral_constant<int, first / (kQuads / 2)>{}, v);
      Unroll<rows>([&](auto r) {
        constexpr int j = decltype(r)::value * NV + decltype(v)::value;
        const Ints16 scaled = dot[j].Times(sub);
        if constexpr (first == 0)
          ints[j] = scaled;
        else
          ints[j] = ints[j] + scaled;
      });
    });
  });
}

// ---- one row of x, or two ------------------------------------------------------------------------------------------------------

template <CodeKind kind, SubKind subs, bool lookup, typename Dot, int rows>
void TwoLevelGemv(const State& s, const std::byte* strip, const std::byte* x, int64_t m, float* sums) {
  constexpr Centre centre = CentreOf(subs, lookup);
  constexpr int sum_columns = TwoLevelColumns<Dot>(kind, subs, lookup);
  constexpr int64_t record = XRecordBytes(XForm::kI8);
  constexpr int lines = UnitBytes(kind) / kLaneBytes;
  const int zero = static_cast<int>(s.zero);
  F32x16 offset = F32x16::Set(-s.zero);
  const int64_t last = s.steps() - kPrefetchSteps, to_next = s.strip_bytes - s.steps() * s.step_bytes();
  Terms terms;
  int64_t loaded = -1;
  for (int64_t step = 0; step < s.steps(); ++step, x += m * record) {
    const std::byte* codes = strip + step * s.step_bytes();
    const std::byte* ahead = codes + kPrefetchSteps * s.step_bytes() + (step < last ? 0 : to_next);
    const int64_t group = GroupOf(s, step * kXStep);
    if (group / s.subs_per_super != loaded) {
      LoadSuper(s, strip, group, &terms);
      loaded = group / s.subs_per_super;
    }
    for (int unit = 0; unit < kVectors; ++unit) {
      Prefetch<lines>(ahead + unit * UnitBytes(kind));
      if (unit % (64 / UnitSubBytes(subs)) == 0) __builtin_prefetch(SubsAt<kind, subs>(ahead, unit));
      Pairs16 first, second, other;
      LoadSubs<subs>(SubsAt<kind, subs>(codes, unit), &first, &second, &other);
      Ints16 ints[rows];
      StepInts<centre, Dot, sum_columns, rows, 1>(
          x, zero, [&](auto q, auto) { return DecodeQuad<kind, lookup, decltype(q)::value>(s, codes, unit); },
          [&](auto half, auto) -> const Pairs16& {
            if constexpr (half == 0) return first;
            return second;
          },
          ints);
      const F32x16 d = terms.scale[unit];
      if constexpr (centre == Centre::kMinimums) offset = terms.zero[unit];
      Unroll<rows>([&](auto r) {
        const XHeader& header = HeaderOf(x + r * record);
        float* sum = sums + r * kStripRows + 16 * unit;
        AddInts<centre>(ints[r], other, header, d, offset, F32x16::Load(sum)).Store(sum);
      });
    }
  }
}

// ---- more rows: terms of a step are [first, second, other, d, -dmin][64] lanes
// ------------------------------------------------

template <CodeKind kind, SubKind subs, bool lookup>
void DecodeTwoLevel(const State& s, const std::byte* strip, Range steps, const Panel& panel) {
  std::byte* out = panel.codes;
  float* terms_out = panel.terms;
  Terms terms;
  int64_t loaded = -1;
  for (int64_t step = steps.begin; step < steps.end; ++step, out += kQuads * kChunkBytes, terms_out += kStepTermFloats) {
    const std::byte* codes = strip + step * s.step_bytes();
    const int64_t group = GroupOf(s, step * kXStep);
    if (group / s.subs_per_super != loaded) {
      LoadSuper(s, strip, group, &terms);
      loaded = group / s.subs_per_super;
    }
    for (int unit = 0; unit < kVectors; ++unit) {
      Unroll<kQuads>([&](auto q) {
        DecodeQuad<kind, lookup, decltype(q)::value>(s, codes, unit).Store(out + q * kChunkBytes + unit * kLaneBytes);
      });
      Pairs16 first, second, other;
      LoadSubs<subs>(SubsAt<kind, subs>(codes, unit), &first, &second, &other);
      float* to = terms_out + 16 * unit;
      first.Store(to);
      second.Store(to + kStripRows);
      other.Store(to + 2 * kStripRows);
      terms.scale[unit].Store(to + 3 * kStripRows);
      if constexpr (CentreOf(subs, lookup) == Centre::kMinimums) terms.zero[unit].Store(to + 4 * kStripRows);
    }
  }
}

// As DotTile.
template <Centre centre, typename Dot, int sum_columns, int rows, int NV>
inline void TwoLevelTile(const State& s, const Panel& panel, int64_t steps, const std::byte* x, int64_t m, float* sums) {
  constexpr int64_t record = XRecordBytes(XForm::kI8);
  const int zero = static_cast<int>(s.zero);
  F32x16 offset = F32x16::Set(-s.zero);
  const std::byte* codes = panel.codes;
  const float* terms = panel.terms;
  for (int64_t step = 0; step < steps; ++step, x += m * record, codes += kQuads * kChunkBytes, terms += kStepTermFloats) {
    Ints16 ints[rows * NV];
    StepInts<centre, Dot, sum_columns, rows, NV>(
        x, zero, [&](auto q, auto v) { return Bytes64::Load(codes + q * kChunkBytes + v * kLaneBytes); },
        [&](auto half, auto v) { return Pairs16::Load(terms + half * kStripRows + 16 * v); }, ints);
    Unroll<rows>([&](auto r) {
      const XHeader& header = HeaderOf(x + r * record);
      Unroll<NV>([&](auto i) {
        float* sum = sums + r * kStripRows + 16 * i;
        const float* at = terms + 16 * i;
        if constexpr (centre == Centre::kMinimums) offset = F32x16::Load(at + 4 * kStripRows);
        AddInts<centre>(ints[r * NV + i], Pairs16::Load(at + 2 * kStripRows), header, F32x16::Load(at + 3 * kStripRows), offset,
                        F32x16::Load(sum))
            .Store(sum);
      });
    });
  }
}

}  // namespace
}  // namespace nibble::strip64
