// SPDX-License-Identifier: Apache-2.0
// Weights whose scales are small integers times one float (ggml's k-quants and iq): 32 columns become one number to be multiplied
// by d and x's scale, whatever the groups are. With the sub-scales s and minimums m of the two halves of a step, x's codes c and
// the sum C of a half's codes, w = d * s * (u - zero) - dmin * m gives
//
//   I = sum over halves of s * sum (u - zero) c         J = sum over halves of m * C         y += x.scale * (d * I - dmin * J)
//
// With 8-bit x, I and J are exact integers; with 16-bit x, they are floats (IntScaling, FloatScaling). Where codes have minimums,
// zero is 0. A table's values are counted from 0 too with narrow 8-bit sums, and zero * (sum of s * C) is taken off I at the end:
// no start of a sum fits the columns that 16 bits hold. state.cc: SubKindOf.
#pragma once

#include "kernels/cpu/strip64/dots.h"

namespace nibble::strip64 {
namespace {

// What J is made of, and when u becomes u - zero.
enum class Centre : uint8_t { kMinimums, kStart, kAfter };
template <typename Dot>
constexpr Centre CentreOf(SubKind subs, bool lookup) {
  if (subs == SubKind::kSubAndMin || subs == SubKind::kNibbles) return Centre::kMinimums;
  return lookup && Dot::kNarrow ? Centre::kAfter : Centre::kStart;
}

// Columns of one sum of Dot.
template <typename Dot>
constexpr int TwoLevelColumns(CodeKind kind, SubKind subs, bool lookup) {
  if (Dot::kNarrow) return NarrowColumns(kind, subs, lookup);
  return subs == SubKind::kSub || subs == SubKind::kSubAndMin ? 32 : 16;
}

// A sum times its rows' sub-scales, and two numbers a row times the sums of x's halves: exact integers.
struct IntScaling {
  using Scaled = Ints16;
  using Factor = Pairs16;  // a number twice
  using Others = Pairs16;

  template <int which>
  static Factor FactorOf(const Pairs16& both) {
    return both.Twice<which>();
  }
  static Others OthersOf(const Pairs16& both) { return both; }
  static Scaled Times(const Dot8& dot, const Factor& factor) { return dot.Times(factor); }
  static Scaled TimesPlus(const Dot8& dot, const Factor& factor, const Scaled& sum) { return sum + dot.Times(factor); }
  static F32x16 ToF32(const Scaled& scaled) { return scaled.ToF32(); }
  static F32x16 TimesHalves(const Others& others, const XHeader& x) { return others.Times(x.half).ToF32(); }
  static Others LoadOthers(const float* p) { return Pairs16::Load(p); }
  static void StoreOthers(const Others& others, float* p) { others.Store(p); }
};

// The same in f32, for sums that integers times 8 bits would not fit.
struct FloatScaling {
  using Scaled = F32x16;
  using Factor = F32x16;
  struct Others {
    F32x16 first, second;
  };

  template <int which>
  static Factor FactorOf(const Pairs16& both) {
    return both.Only<which>().ToF32();
  }
  static Others OthersOf(const Pairs16& both) { return {FactorOf<0>(both), FactorOf<1>(both)}; }
  static Scaled Times(const Dot16& dot, const Factor& factor) { return dot.Total().ToF32() * factor; }
  static Scaled TimesPlus(const Dot16& dot, const Factor& factor, const Scaled& sum) {
    return F32x16::Fma(dot.Total().ToF32(), factor, sum);
  }
  static F32x16 ToF32(const Scaled& scaled) { return scaled; }
  static F32x16 TimesHalves(const Others& others, const XHeader& x) {
    const F32x16 first = others.first * F32x16::Set(static_cast<float>(x.sum[1]));
    return F32x16::Fma(others.second, F32x16::Set(static_cast<float>(x.sum[2])), first);
  }
  static Others LoadOthers(const float* p) { return {F32x16::Load(p), F32x16::Load(p + kStripRows)}; }
  static void StoreOthers(const Others& others, float* p) {
    others.first.Store(p);
    others.second.Store(p + kStripRows);
  }
};

template <typename Dot>
using ScalingOf = std::conditional_t<Dot::kPhases == 1, IntScaling, FloatScaling>;

// Of 16 rows and one step: the sub-scales of its halves, and what J is made of. No struct of the three: g++ copies it by words.
template <SubKind subs, typename Dot>
inline void LoadSubs(const std::byte* at, typename ScalingOf<Dot>::Factor* first, typename ScalingOf<Dot>::Factor* second,
                     typename ScalingOf<Dot>::Others* others) {
  Pairs16 both, minimums;
  if constexpr (subs == SubKind::kNibbles)
    Pairs16::LoadNibbles(at, &both, &minimums);
  else
    both = minimums = subs == SubKind::kSub ? Pairs16::LoadTwice(at) : Pairs16::LoadI8(at);
  *first = *second = ScalingOf<Dot>::template FactorOf<0>(both);
  if constexpr (subs == SubKind::kSubPair || subs == SubKind::kNibbles) *second = ScalingOf<Dot>::template FactorOf<1>(both);
  if constexpr (subs == SubKind::kSubAndMin) minimums = both.template Twice<1>();
  *others = ScalingOf<Dot>::OthersOf(minimums);
}

// d and -dmin of the super block that holds `group`; asks for the next one's, which may be of the strip at `next_strip`.
inline void LoadSuper(const State& s, const std::byte* strip, const std::byte* next_strip, int64_t group, Terms* terms) {
  const int64_t super = group / s.subs_per_super, next = super + 1;
  const std::byte* ahead = next < s.supers() ? strip + next * kStripRows * 2 : next_strip;
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

// offset: -dmin, or -zero.
template <Centre centre, typename Dot>
inline F32x16 AddStep(typename ScalingOf<Dot>::Scaled scaled, const typename ScalingOf<Dot>::Others& others, const XHeader& x,
                      F32x16 d, F32x16 offset, F32x16 sum) {
  F32x16 value = ScalingOf<Dot>::ToF32(scaled);
  if constexpr (centre == Centre::kAfter) value = F32x16::Fma(ScalingOf<Dot>::TimesHalves(others, x), offset, value);
  value = value * d;
  if constexpr (centre == Centre::kMinimums) value = F32x16::Fma(ScalingOf<Dot>::TimesHalves(others, x), offset, value);
  return F32x16::Fma(value, F32x16::Set(x.scale), sum);
}

// I of one step (kAfter: with u for u - zero) for some rows of x and NV units of 16 rows of W, out [rows][NV]. load(quad, unit):
// four columns of a unit; factor(half, unit): its sub-scales.
template <Centre centre, typename Dot, int sum_columns, int rows, int NV, typename Load, typename Factor>
inline void StepSums(const std::byte* x, int zero, const Load& load, const Factor& factor, typename ScalingOf<Dot>::Scaled* out) {
  constexpr int64_t record = XRecordBytes(FormOf<Dot>());
  constexpr int quads = sum_columns / 4, quad_bytes = 4 * Dot::kPhases;
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
      Unroll<Dot::kPhases>([&](auto p) {
        constexpr int phase = decltype(p)::value;
        typename Dot::Operand operand[NV];
        Unroll<NV>([&](auto v) { operand[v] = Dot::template Phase<phase>(w[v]); });
        Unroll<rows * NV>([&](auto j) {
          const std::byte* at = x + j / NV * record + kXHeaderBytes + q * quad_bytes + 4 * phase;
          if constexpr (centre != Centre::kStart && q == first && phase == 0)
            dot[j] = Dot::First(operand[j % NV], at);
          else
            dot[j] = dot[j].Plus(operand[j % NV], at);
        });
      });
    });
    Unroll<NV>([&](auto v) {
      const typename ScalingOf<Dot>::Factor sub = factor(std::integral_constant<int, first / (kQuads / 2)>{}, v);
      Unroll<rows>([&](auto r) {
        constexpr int j = decltype(r)::value * NV + decltype(v)::value;
        if constexpr (first == 0)
          out[j] = ScalingOf<Dot>::Times(dot[j], sub);
        else
          out[j] = ScalingOf<Dot>::TimesPlus(dot[j], sub, out[j]);
      });
    });
  });
}

// ---- one row of x, or two ------------------------------------------------------------------------------------------------------

// As DotGemv.
template <CodeKind kind, SubKind subs, bool lookup, typename Dot, int rows>
void TwoLevelGemv(const State& s, const std::byte* strip, int strips, const std::byte* x, int64_t m, float* sums) {
  constexpr Centre centre = CentreOf<Dot>(subs, lookup);
  constexpr int sum_columns = TwoLevelColumns<Dot>(kind, subs, lookup), at_once = AtOnce(rows);
  constexpr int64_t record = XRecordBytes(FormOf<Dot>());
  constexpr int units_of_line = 64 / UnitSubBytes(subs);
  using Scaling = ScalingOf<Dot>;
  const int zero = static_cast<int>(s.zero);
  F32x16 offset = F32x16::Set(-s.zero);
  const int64_t last = s.steps() - kPrefetchSteps, to_next = strips * s.strip_bytes - s.steps() * s.step_bytes();
  Terms terms[kDotStrips];
  int64_t loaded = -1;
  for (int64_t step = 0; step < s.steps(); ++step, x += m * record) {
    const std::byte* codes = strip + step * s.step_bytes();
    const int64_t ahead = kPrefetchSteps * s.step_bytes() + (step < last ? 0 : to_next);
    const int64_t group = GroupOf(s, step * kXStep);
    if (group / s.subs_per_super != loaded) {
      for (int i = 0; i < strips; ++i)
        LoadSuper(s, strip + i * s.strip_bytes, strip + (i + strips) * s.strip_bytes, group, &terms[i]);
      loaded = group / s.subs_per_super;
    }
    const auto add = [&](int unit, int first_strip) {
      const int64_t side = ToSecond(s, first_strip, strips);
      const std::byte* step_at = codes + first_strip * s.strip_bytes;
      const std::byte* begin = step_at + UnitOffset(kind, subs, unit);
      typename Scaling::Factor first[at_once], second[at_once];
      typename Scaling::Others others[at_once];
      Unroll<at_once>([&](auto v) {
        const std::byte* at = step_at + v * side + SubOffset(kind, subs, unit);
        LoadSubs<subs, Dot>(at, &first[v], &second[v], &others[v]);
        if (unit % units_of_line == 0) __builtin_prefetch(at + ahead);
      });
      typename Scaling::Scaled scaled[rows * at_once];
      StepSums<centre, Dot, sum_columns, rows, at_once>(
          x, zero,
          [&](auto q, auto v) {
            PrefetchPart<kind, decltype(q)::value>(begin + v * side + ahead);
            return DecodeQuad<kind, lookup, decltype(q)::value>(s, begin + v * side);
          },
          [&](auto half, auto v) -> const typename Scaling::Factor& {
            if constexpr (half == 0) return first[v];
            return second[v];
          },
          scaled);
      Unroll<rows * at_once>([&](auto j) {
        constexpr int r = j / at_once, v = j % at_once;
        const XHeader& header = HeaderOf(x + r * record);
        float* sum = sums + ((first_strip + v) * rows + r) * kStripRows + 16 * unit;
        const Terms& own = terms[side > 0 ? first_strip + v : first_strip];
        if constexpr (centre == Centre::kMinimums) offset = own.zero[unit];
        AddStep<centre, Dot>(scaled[j], others[v], header, own.scale[unit], offset, F32x16::Load(sum)).Store(sum);
      });
    };
    for (int unit = 0; unit < kVectors; ++unit)
      for (int first = 0; first < strips; first += at_once) add(unit, first);
  }
}

// ---- more rows -----------------------------------------------------------------------------------------------------------------

// Terms of a step: [first, second, d, -dmin, others ...][64] lanes.
template <CodeKind kind, SubKind subs, bool lookup, typename Dot>
void DecodeTwoLevel(const State& s, const std::byte* strip, Range steps, const Panel& panel) {
  std::byte* out = panel.codes;
  float* terms_out = panel.terms;
  Terms terms;
  int64_t loaded = -1;
  for (int64_t step = steps.begin; step < steps.end; ++step, out += kQuads * kChunkBytes, terms_out += kStepTermFloats) {
    const std::byte* codes = strip + step * s.step_bytes();
    const int64_t group = GroupOf(s, step * kXStep);
    if (group / s.subs_per_super != loaded) {
      LoadSuper(s, strip, strip + s.strip_bytes, group, &terms);
      loaded = group / s.subs_per_super;
    }
    for (int unit = 0; unit < kVectors; ++unit) {
      Unroll<kQuads>([&](auto q) {
        DecodeQuad<kind, lookup, decltype(q)::value>(s, codes + UnitOffset(kind, subs, unit))
            .Store(out + q * kChunkBytes + unit * kLaneBytes);
      });
      typename ScalingOf<Dot>::Factor first, second;
      typename ScalingOf<Dot>::Others others;
      LoadSubs<subs, Dot>(codes + SubOffset(kind, subs, unit), &first, &second, &others);
      float* to = terms_out + 16 * unit;
      first.Store(to);
      second.Store(to + kStripRows);
      terms.scale[unit].Store(to + 2 * kStripRows);
      if constexpr (CentreOf<Dot>(subs, lookup) == Centre::kMinimums) terms.zero[unit].Store(to + 3 * kStripRows);
      if constexpr (CentreOf<Dot>(subs, lookup) != Centre::kStart) ScalingOf<Dot>::StoreOthers(others, to + 4 * kStripRows);
    }
  }
}

// As DotTile.
template <Centre centre, typename Dot, int sum_columns, int rows, int NV>
inline void TwoLevelTile(const State& s, const Panel& panel, int64_t steps, const std::byte* x, int64_t m, float* sums) {
  constexpr int64_t record = XRecordBytes(FormOf<Dot>());
  const int zero = static_cast<int>(s.zero);
  F32x16 offset = F32x16::Set(-s.zero);
  const std::byte* codes = panel.codes;
  const float* terms = panel.terms;
  for (int64_t step = 0; step < steps; ++step, x += m * record, codes += kQuads * kChunkBytes, terms += kStepTermFloats) {
    typename ScalingOf<Dot>::Scaled scaled[rows * NV];
    StepSums<centre, Dot, sum_columns, rows, NV>(
        x, zero, [&](auto q, auto v) { return Bytes64::Load(codes + q * kChunkBytes + v * kLaneBytes); },
        [&](auto half, auto v) { return ScalingOf<Dot>::Factor::Load(terms + half * kStripRows + 16 * v); }, scaled);
    Unroll<rows>([&](auto r) {
      const XHeader& header = HeaderOf(x + r * record);
      Unroll<NV>([&](auto i) {
        float* sum = sums + r * kStripRows + 16 * i;
        const float* at = terms + 2 * kStripRows + 16 * i;
        typename ScalingOf<Dot>::Others others;
        if constexpr (centre != Centre::kStart) others = ScalingOf<Dot>::LoadOthers(at + 2 * kStripRows);
        if constexpr (centre == Centre::kMinimums) offset = F32x16::Load(at + kStripRows);
        AddStep<centre, Dot>(scaled[r * NV + i], others, header, F32x16::Load(at), offset, F32x16::Load(sum)).Store(sum);
      });
    });
  }
}

}  // namespace
}  // namespace nibble::strip64
