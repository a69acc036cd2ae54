// SPDX-License-Identifier: Apache-2.0
// The integer kernels of strip64d, written once on the types of dot_*.h, which are included before (dots_run.h).
//
// Products of codes and integer x are summed exactly over 32 or 16 columns; the sum becomes a float once, is multiplied by the
// scales of W and x, and is added to y's sum. All kernels do this in the same order (kernels/linear.h), so all agree bit for bit.
// Where scales are integers times one float: two_level.h.
#pragma once

#include "kernels/cpu/strip64/terms.h"
#include "kernels/cpu/unroll.h"

namespace nibble::strip64 {
namespace {

constexpr int kQuads = 8;                                                // of four columns, in a step
constexpr int64_t kLaneBytes = 64;                                       // of four columns (a byte each) and 16 rows
constexpr int64_t kChunkBytes = 256;                                     // and 64 rows
constexpr int64_t kPrefetchSteps = 6;                                    // ahead of the codes that are multiplied
constexpr int64_t kPanelSteps = 4;                                       // 128 columns: the panel stays in L1
constexpr int64_t kPanelBytes = 2 * kPanelSteps * kQuads * kChunkBytes;  // of wide tables; all others take half
constexpr int64_t kStepTermFloats = 6 * kStripRows;  // scale and bias of each half step, or what two_level.h keeps
constexpr int64_t kPanelTermFloats = kPanelSteps * kStepTermFloats;
constexpr int64_t kDotXBytes = 192 << 10;  // of x, in L2

// Strips whose sums a GEMV has in registers at once: those of more would not fit.
constexpr int AtOnce(int rows) { return rows == 1 ? 2 : 1; }
// Bytes from the strip `first` to the second at once; 0: there is none, and the first is computed twice.
inline int64_t ToSecond(const State& s, int first, int strips) { return first + 1 < strips ? s.strip_bytes : 0; }

// Asks for the part of a unit that quad q would be where eight quads divide the unit evenly.
template <CodeKind kind, int q>
inline void PrefetchPart(const std::byte* unit) {
  constexpr int lines = UnitBytes(kind) / kLaneBytes, first = q * lines / kQuads;
  if constexpr (first < (q + 1) * lines / kQuads) __builtin_prefetch(unit + first * kLaneBytes);
}

// Codes of quad q of a unit. For a table, bits 4 to 6 may hold anything (Bytes64::Lookup).
template <CodeKind kind, bool lookup, int q>
inline Bytes64 LoadQuad(const std::byte* unit) {
  const auto line = [&](int i) { return Bytes64::Load(unit + i * kLaneBytes); };
  if constexpr (kind == CodeKind::kBits8) {
    return line(q);
  } else if constexpr (kind == CodeKind::kBits2) {
    return line(q / 4).template Field<q % 4 * 2, 0, 2>();
  } else if constexpr (kind == CodeKind::kBits3) {
    constexpr int mask = lookup ? 0x77 : 0xff, last = lookup ? 0xff : 7;
    const Bytes64 both = q < 6
                             ? line(q / 2).template And<mask>()
                             : line(0).template And<0x88>().template Shift<3>() | line(1).template And<0x88>().template Shift<2>() |
                                   line(2).template And<0x88>().template Shift<1>();
    return both.template Shift<q % 2 * 4>().template And<last>();
  } else if constexpr (kind == CodeKind::kBits4) {
    return line(q / 2).template Field<q % 2 * 4, 0, 4>();
  } else if constexpr (kind == CodeKind::kBits5) {
    if constexpr (q < 5) return line(q).template And<31>();
    if constexpr (q == 5) return line(0).template Field<5, 0, 3>() | line(1).template Field<5, 3, 2>();
    if constexpr (q == 6) return line(2).template Field<5, 0, 3>() | line(3).template Field<5, 3, 2>();
    if constexpr (q == 7)
      return line(4).template Field<5, 0, 3>() | line(1).template Field<7, 3, 1>() | line(3).template Field<7, 4, 1>();
  } else {
    if constexpr (q < 6) return line(q).template And<63>();
    constexpr int first = q == 6 ? 0 : 3;
    return line(first).template Field<6, 0, 2>() | line(first + 1).template Field<6, 2, 2>() |
           line(first + 2).template Field<6, 4, 2>();
  }
}

template <CodeKind kind, bool lookup, int q>
inline Bytes64 DecodeQuad(const State& s, const std::byte* unit) {
  const Bytes64 codes = LoadQuad<kind, lookup, q>(unit);
  if constexpr (lookup) return codes.Lookup(s.lookup);
  return codes;
}

// Scale and bias of one group: w = scale * (u - zero) + bias.
inline void LoadDotTerms(const State& s, const std::byte* strip, int64_t group, Terms* terms) {
  LoadTerms(s, strip, group, terms);
  const F32x16 zero = F32x16::Set(s.zero), unit = F32x16::Set(s.unit);
  for (int i = 0; i < kVectors; ++i) {
    F32x16 &scale = terms->scale[i], &bias = terms->zero[i];
    scale = scale * unit;
    if (s.rule == Rule::kMinusZero) bias = (zero - bias) * scale;
    if (s.rule == Rule::kPlusBias) bias = F32x16::Fma(zero, scale, bias);
  }
}

// Asks for what LoadDotTerms will read of one group; past the last one, of the strip at `next`.
inline void PrefetchTerms(const State& s, const std::byte* strip, const std::byte* next, int64_t group) {
  if (group >= s.groups) {
    strip = next;
    group -= s.groups;
  }
  const int64_t bytes = s.subs_per_super ? 1 : DTypeBytes(s.scale_dtype), offset = s.subs_per_super ? s.sub_offset : s.scale_offset;
  const std::byte* scales = strip + offset + group * kStripRows * bytes;
  for (int64_t i = 0; i < bytes; ++i) __builtin_prefetch(scales + i * kStripRows);
  if (s.has_sub_min) __builtin_prefetch(strip + s.sub_min_offset + group * kStripRows);
}

// One sum of (u - zero) * code of x, on its way to y. bias(): asked for where there is one.
template <typename Bias>
inline F32x16 AddSum(F32x16 ints, F32x16 scale, bool biased, const Bias& bias, const XHeader& x, int span, F32x16 sum) {
  sum = F32x16::Fma(ints, scale * F32x16::Set(x.scale), sum);
  if (biased) sum = F32x16::Fma(bias(), F32x16::Set(x.scale * static_cast<float>(x.sum[span])), sum);
  return sum;
}

inline bool IsBiased(const State& s) { return s.rule != Rule::kScaled; }
// Where codes are places in a table.
enum class Table : uint8_t { kNone, kBytes, kWide };

// Four columns of 16 rows as Dot multiplies them, out [kPhases].
template <CodeKind kind, Table table, typename Dot, int q>
inline void LoadOperands(const State& s, const std::byte* unit, typename Dot::Operand* out) {
  if constexpr (table == Table::kWide) {
    Dot::LookupWide(LoadQuad<kind, false, q>(unit), s.wide_low, s.wide_high, out);
  } else {
    const Bytes64 w = DecodeQuad<kind, table == Table::kBytes, q>(s, unit);
    Unroll<Dot::kPhases>([&](auto phase) { out[phase] = Dot::template Phase<decltype(phase)::value>(w); });
  }
}

inline const XHeader& HeaderOf(const std::byte* record) { return *reinterpret_cast<const XHeader*>(record); }

// The last half step may lie past the last column, where all codes are 0.
inline int64_t GroupOf(const State& s, int64_t column) {
  if (s.groups == 1) return 0;
  const int64_t group = (column + s.k_phase) / s.group_elems;
  return group < s.groups ? group : s.groups - 1;
}

template <typename Dot>
constexpr XForm FormOf() {
  return Dot::kPhases == 2 ? XForm::kI16 : XForm::kI8;
}

// ---- one row of x, or two: codes are multiplied as they are unpacked -----------------------------------------------------------

// Some strips, at most kDotStrips. x: the first row's record in the first step; records of a step are m apart.
// sums [kDotStrips][rows][64].
template <CodeKind kind, Table table, typename Dot, int rows>
void DotGemv(const State& s, const std::byte* strip, int strips, const std::byte* x, int64_t m, float* sums) {
  constexpr int quad_bytes = 4 * Dot::kPhases, at_once = AtOnce(rows);
  constexpr int64_t record = XRecordBytes(FormOf<Dot>());
  const int zero = static_cast<int>(s.zero);
  const bool biased = IsBiased(s), halved = s.sum_columns < kXStep;
  // From the end of the codes to those of the next strip to be read.
  const int64_t last = s.steps() - kPrefetchSteps, to_next = strips * s.strip_bytes - s.steps() * s.step_bytes();
  const int64_t groups_ahead = CeilDiv(kPrefetchSteps * kXStep, s.group_elems > 0 ? s.group_elems : s.k);
  Terms terms[2][kDotStrips];  // of a step's sums: one, or two
  int64_t loaded[2] = {-1, -1};
  for (int64_t step = 0; step < s.steps(); ++step, x += m * record) {
    const std::byte* codes = strip + step * s.step_bytes();
    const int64_t ahead = kPrefetchSteps * s.step_bytes() + (step < last ? 0 : to_next);
    for (int half = 0; half <= static_cast<int>(halved); ++half) {
      const int64_t group = GroupOf(s, step * kXStep + half * s.sum_columns);
      if (group == loaded[half]) continue;
      for (int i = 0; i < strips; ++i) {
        const std::byte* own = strip + i * s.strip_bytes;
        LoadDotTerms(s, own, group, &terms[half][i]);
        PrefetchTerms(s, own, own + strips * s.strip_bytes, group + groups_ahead);
      }
      loaded[half] = group;
    }
    const auto add = [&](int unit, int first) {
      const int64_t side = ToSecond(s, first, strips);
      const std::byte* begin = codes + first * s.strip_bytes + unit * UnitBytes(kind);
      Dot dot[at_once * rows];
      const auto start = [&](int span) {
        Unroll<at_once * rows>([&](auto j) { dot[j] = Dot::Start(HeaderOf(x + j % rows * record), span, zero); });
      };
      const auto finish = [&](int half, int span) {
        Unroll<at_once * rows>([&](auto j) {
          float* sum = sums + (first * rows + j) * kStripRows + 16 * unit;
          const XHeader& header = HeaderOf(x + j % rows * record);
          const Terms& own = terms[half][side > 0 ? first + j / rows : first];
          const auto bias = [&] { return own.zero[unit]; };
          AddSum(dot[j].Total().ToF32(), own.scale[unit], biased, bias, header, span, F32x16::Load(sum)).Store(sum);
        });
      };
      start(halved ? 1 : 0);
      Unroll<kQuads>([&](auto i) {
        constexpr int q = decltype(i)::value;
        if constexpr (q == kQuads / 2)
          if (halved) {
            finish(0, 1);
            start(2);
          }
        typename Dot::Operand operand[at_once][Dot::kPhases];
        Unroll<at_once>([&](auto j) {
          PrefetchPart<kind, q>(begin + j * side + ahead);
          LoadOperands<kind, table, Dot, q>(s, begin + j * side, operand[j]);
        });
        const std::byte* at = x + kXHeaderBytes + q * quad_bytes;
        Unroll<Dot::kPhases>([&](auto phase) {
          Unroll<at_once * rows>(
              [&](auto j) { dot[j] = dot[j].Plus(operand[j / rows][phase], at + j % rows * record + 4 * phase); });
        });
      });
      finish(halved ? 1 : 0, halved ? 2 : 0);
    };
    for (int unit = 0; unit < kVectors; ++unit)
      for (int first = 0; first < strips; first += at_once) add(unit, first);
  }
}

// ---- more rows -----------------------------------------------------------------------------------------------------------------

// Steps [begin, end) of a strip as bytes, one a column and row, and the scales and biases of each sum beside them.
struct Panel {
  std::byte* codes;  // [step][quad][64] lanes
  float* terms;      // [step][kStepTermFloats]: [half][scale, bias][64], biases where there are some
};

template <CodeKind kind, Table table, typename Dot>
void DecodeSteps(const State& s, const std::byte* strip, Range steps, const Panel& panel) {
  const bool biased = IsBiased(s);
  std::byte* out = panel.codes;
  float* terms_out = panel.terms;
  constexpr int operands = table == Table::kWide ? Dot::kPhases : 1;  // of a quad
  for (int64_t step = steps.begin; step < steps.end; ++step, out += operands * kQuads * kChunkBytes, terms_out += kStepTermFloats) {
    const std::byte* codes = strip + step * s.step_bytes();
    for (int unit = 0; unit < kVectors; ++unit)
      Unroll<kQuads>([&](auto q) {
        if constexpr (table == Table::kWide) {
          typename Dot::Operand operand[Dot::kPhases];
          LoadOperands<kind, table, Dot, decltype(q)::value>(s, codes + unit * UnitBytes(kind), operand);
          Unroll<Dot::kPhases>([&](auto p) { operand[p].Store(out + (q * Dot::kPhases + p) * kChunkBytes + unit * kLaneBytes); });
        } else {
          DecodeQuad<kind, table == Table::kBytes, decltype(q)::value>(s, codes + unit * UnitBytes(kind))
              .Store(out + q * kChunkBytes + unit * kLaneBytes);
        }
      });
    for (int half = 0; half < kXStep / s.sum_columns; ++half) {
      Terms terms;
      const int64_t group = GroupOf(s, step * kXStep + half * s.sum_columns);
      LoadDotTerms(s, strip, group, &terms);
      PrefetchTerms(s, strip, strip + s.strip_bytes, group + kPanelSteps * kXStep / s.sum_columns);
      float* to = terms_out + half * 2 * kStripRows;
      for (int i = 0; i < kVectors; ++i) {
        terms.scale[i].Store(to + 16 * i);
        if (biased) terms.zero[i].Store(to + kStripRows + 16 * i);
      }
    }
  }
}

// rows x (16 * NV) sums over a panel's steps. x: the record of the tile's first row in the panel's first step; records of a step
// are m apart. sums [rows][64].
template <typename Dot, int sum_columns, bool wide, int rows, int NV>
inline void DotTile(const State& s, const Panel& panel, int64_t steps, const std::byte* x, int64_t m, float* sums) {
  constexpr int quads = sum_columns / 4, quad_bytes = 4 * Dot::kPhases;
  constexpr int64_t record = XRecordBytes(FormOf<Dot>());
  const std::byte* codes = panel.codes;
  const float* terms = panel.terms;
  const int zero = static_cast<int>(s.zero);
  const bool biased = IsBiased(s);
  for (int64_t step = 0; step < steps; ++step, x += m * record, terms += kStepTermFloats)
    for (int half = 0; half < kQuads / quads; ++half) {
      Dot dot[rows * NV];
      const int span = sum_columns == 32 ? 0 : 1 + half;
      Unroll<rows>([&](auto r) {
        const Dot start = Dot::Start(HeaderOf(x + r * record), span, zero);
        Unroll<NV>([&](auto i) { dot[r * NV + i] = start; });
      });
      const std::byte* at = x + kXHeaderBytes + half * quads * quad_bytes;
      Unroll<quads>([&](auto q) {
        Unroll<Dot::kPhases>([&](auto phase) {
          typename Dot::Operand w[NV];
          Unroll<NV>([&](auto i) {
            if constexpr (wide)
              w[i] = Dot::Operand::Load(codes + (q * Dot::kPhases + phase) * kChunkBytes + i * kLaneBytes);
            else
              w[i] = Dot::template Phase<decltype(phase)::value>(Bytes64::Load(codes + q * kChunkBytes + i * kLaneBytes));
          });
          Unroll<rows * NV>([&](auto j) {
            constexpr int r = j / NV, i = j % NV;
            dot[j] = dot[j].Plus(w[i], at + r * record + q * quad_bytes + 4 * phase);
          });
        });
      });
      codes += (wide ? Dot::kPhases : 1) * quads * kChunkBytes;
      Unroll<rows * NV>([&](auto j) {
        constexpr int r = j / NV, i = j % NV;
        float* sum = sums + r * kStripRows + 16 * i;
        const float* term = terms + half * 2 * kStripRows + 16 * i;
        const auto bias = [&] { return F32x16::Load(term + kStripRows); };
        AddSum(dot[j].Total().ToF32(), F32x16::Load(term), biased, bias, HeaderOf(x + r * record), span, F32x16::Load(sum))
            .Store(sum);
      });
    }
}

}  // namespace
}  // namespace nibble::strip64
