// SPDX-License-Identifier: Apache-2.0
// The integer kernels of strip64d, written once on the types of dot_*.h. An ISA file includes its vec_*.h and dot_*.h, then this,
// and calls RunDots<NV, Dot>: NV units of 16 rows make a register tile.
//
// Products of codes and integer x are summed exactly over 32 or 16 columns; the sum becomes a float once, is multiplied by the
// scales of W and x, and is added to y's sum. All kernels do this in the same order (kSumOrderInteger), so all agree bit for bit.
#pragma once

#include "kernels/cpu/strip64/terms.h"
#include "kernels/cpu/unroll.h"

namespace nibble::strip64 {
namespace {

constexpr int kQuads = 8;              // of four columns, in a step
constexpr int64_t kLaneBytes = 64;     // of four columns (a byte each) and 16 rows
constexpr int64_t kChunkBytes = 256;   // and 64 rows
constexpr int64_t kPrefetchSteps = 6;  // ahead of the codes that are multiplied
constexpr int64_t kPanelSteps = 4;     // 128 columns: the panel stays in L1
constexpr int64_t kPanelBytes = kPanelSteps * kQuads * kChunkBytes;
constexpr int64_t kPanelTermFloats = kPanelSteps * 2 * 2 * kStripRows;  // scale and bias of each half step
constexpr int64_t kDotXBytes = 192 << 10;                               // of x, in L2

// Codes of quad q of a step, 16 rows from `unit` on.
template <CodeKind kind, int q>
inline Bytes64 LoadQuad(const std::byte* step, int unit) {
  const auto line = [&](int i) { return Bytes64::Load(step + unit * UnitBytes(kind) + i * kLaneBytes); };
  if constexpr (kind == CodeKind::kBits8) {
    return line(q);
  } else if constexpr (kind == CodeKind::kBits2 || kind == CodeKind::kBits3) {
    const Bytes64 low = line(q / 4).template Field<q % 4 * 2, 0, 2>();
    if constexpr (kind == CodeKind::kBits2) return low;
    return low | line(2).template Field<q, 2, 1>();
  } else {
    const Bytes64 low = line(q / 2).template Field<q % 2 * 4, 0, 4>();
    if constexpr (kind == CodeKind::kBits5) return low | line(4).template Field<q, 4, 1>();
    if constexpr (kind == CodeKind::kBits6) return low | line(4 + q / 4).template Field<q % 4 * 2, 4, 2>();
    return low;
  }
}

template <CodeKind kind, bool lookup, int q>
inline Bytes64 DecodeQuad(const State& s, const std::byte* step, int unit) {
  const Bytes64 codes = LoadQuad<kind, q>(step, unit);
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

// Asks for what LoadDotTerms will read of one group; past the last one, of the next strip's.
inline void PrefetchTerms(const State& s, const std::byte* strip, int64_t group) {
  if (group >= s.groups) {
    strip += s.strip_bytes;
    group -= s.groups;
  }
  const int64_t bytes = s.subs_per_super ? 1 : DTypeBytes(s.scale_dtype), offset = s.subs_per_super ? s.sub_offset : s.scale_offset;
  const std::byte* scales = strip + offset + group * kStripRows * bytes;
  for (int64_t i = 0; i < bytes; ++i) __builtin_prefetch(scales + i * kStripRows);
  if (s.has_sub_min) __builtin_prefetch(strip + s.sub_min_offset + group * kStripRows);
}

// One sum of (u - zero) * code of x, on its way to y.
template <bool biased>
inline F32x16 AddSum(F32x16 ints, F32x16 scale, F32x16 bias, const XHeader& x, int span, F32x16 sum) {
  sum = F32x16::Fma(ints, scale * F32x16::Set(x.scale), sum);
  if constexpr (biased) sum = F32x16::Fma(bias, F32x16::Set(x.scale * static_cast<float>(x.sum[span])), sum);
  return sum;
}

inline bool IsBiased(const State& s) { return s.rule != Rule::kScaled; }
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

// x: the first row's record in the first step; records of a step are m apart. sums [rows][64].
template <CodeKind kind, bool lookup, typename Dot, int sum_columns, int rows>
void DotGemv(const State& s, const std::byte* strip, const std::byte* x, int64_t m, float* sums) {
  constexpr int quads = sum_columns / 4, quad_bytes = 4 * Dot::kPhases;
  constexpr int64_t record = XRecordBytes(FormOf<Dot>());
  const int zero = static_cast<int>(s.zero);
  const bool biased = IsBiased(s);
  // From the end of the codes to the next strip's.
  const int64_t last = s.steps() - kPrefetchSteps, to_next = s.strip_bytes - s.steps() * s.step_bytes();
  const int64_t groups_ahead = CeilDiv(kPrefetchSteps * kXStep, s.group_elems > 0 ? s.group_elems : s.k);
  Terms terms;
  int64_t loaded = -1;
  for (int64_t step = 0; step < s.steps(); ++step, x += m * record) {
    const std::byte* codes = strip + step * kXStep * CodeBytes(kind);
    const std::byte* ahead = codes + kPrefetchSteps * kXStep * CodeBytes(kind) + (step < last ? 0 : to_next);
    Unroll<kQuads / quads>([&](auto half) {
      constexpr int span = sum_columns == 32 ? 0 : 1 + decltype(half)::value;
      const int64_t group = GroupOf(s, step * kXStep + half * sum_columns);
      if (group != loaded) {
        LoadDotTerms(s, strip, group, &terms);
        PrefetchTerms(s, strip, group + groups_ahead);
        loaded = group;
      }
      for (int unit = 0; unit < kVectors; ++unit) {
        constexpr int lines = UnitBytes(kind) / kLaneBytes * quads / kQuads;
        Unroll<lines>([&](auto i) { __builtin_prefetch(ahead + unit * UnitBytes(kind) + (half * lines + i) * kLaneBytes); });
        Dot dot[rows];
        Unroll<rows>([&](auto r) { dot[r] = Dot::Start(HeaderOf(x + r * record), span, zero); });
        Unroll<quads>([&](auto i) {
          constexpr int q = decltype(half)::value * quads + decltype(i)::value;
          const Bytes64 w = DecodeQuad<kind, lookup, q>(s, codes, unit);
          const std::byte* at = x + kXHeaderBytes + q * quad_bytes;
          Unroll<Dot::kPhases>([&](auto phase) {
            const auto operand = Dot::template Phase<decltype(phase)::value>(w);
            Unroll<rows>([&](auto r) { dot[r] = dot[r].Plus(operand, at + r * record + 4 * phase); });
          });
        });
        Unroll<rows>([&](auto r) {
          float* sum = sums + r * kStripRows + 16 * unit;
          const XHeader& header = HeaderOf(x + r * record);
          const F32x16 ints = dot[r].Total().ToF32(), before = F32x16::Load(sum);
          (biased ? AddSum<true>(ints, terms.scale[unit], terms.zero[unit], header, span, before)
                  : AddSum<false>(ints, terms.scale[unit], terms.scale[unit], header, span, before))
              .Store(sum);
        });
      }
    });
  }
}

// ---- more rows -----------------------------------------------------------------------------------------------------------------

// Steps [begin, end) of a strip as bytes, one a column and row, and the scales and biases of each sum beside them.
struct Panel {
  std::byte* codes;  // [step][quad][64] lanes
  float* terms;      // [step][half][scale, bias][64]; biases where there are some
};

template <CodeKind kind, bool lookup>
void DecodeSteps(const State& s, const std::byte* strip, Range steps, const Panel& panel) {
  const bool biased = IsBiased(s);
  std::byte* out = panel.codes;
  float* terms_out = panel.terms;
  for (int64_t step = steps.begin; step < steps.end; ++step, out += kQuads * kChunkBytes) {
    const std::byte* codes = strip + step * kXStep * CodeBytes(kind);
    for (int unit = 0; unit < kVectors; ++unit)
      Unroll<kQuads>([&](auto q) {
        DecodeQuad<kind, lookup, decltype(q)::value>(s, codes, unit).Store(out + q * kChunkBytes + unit * kLaneBytes);
      });
    for (int half = 0; half < kXStep / s.sum_columns; ++half, terms_out += 2 * kStripRows) {
      Terms terms;
      const int64_t group = GroupOf(s, step * kXStep + half * s.sum_columns);
      LoadDotTerms(s, strip, group, &terms);
      PrefetchTerms(s, strip, group + kPanelSteps * kXStep / s.sum_columns);
      for (int i = 0; i < kVectors; ++i) {
        terms.scale[i].Store(terms_out + 16 * i);
        if (biased) terms.zero[i].Store(terms_out + kStripRows + 16 * i);
      }
    }
  }
}

// rows x (16 * NV) sums over a panel's steps. x: the record of the tile's first row in the panel's first step; records of a step
// are m apart. sums [rows][64].
template <typename Dot, int sum_columns, bool biased, int rows, int NV>
inline void DotTile(const State& s, const Panel& panel, int64_t steps, const std::byte* x, int64_t m, float* sums) {
  constexpr int quads = sum_columns / 4, quad_bytes = 4 * Dot::kPhases;
  constexpr int64_t record = XRecordBytes(FormOf<Dot>());
  const std::byte* codes = panel.codes;
  const float* terms = panel.terms;
  const int zero = static_cast<int>(s.zero);
  for (int64_t step = 0; step < steps; ++step, x += m * record)
    for (int half = 0; half < kQuads / quads; ++half, terms += 2 * kStripRows) {
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
            w[i] = Dot::template Phase<decltype(phase)::value>(Bytes64::Load(codes + q * kChunkBytes + i * kLaneBytes));
          });
          Unroll<rows * NV>([&](auto j) {
            constexpr int r = j / NV, i = j % NV;
            dot[j] = dot[j].Plus(w[i], at + r * record + q * quad_bytes + 4 * phase);
          });
        });
      });
      codes += quads * kChunkBytes;
      Unroll<rows>([&](auto r) {
        const XHeader& header = HeaderOf(x + r * record);
        Unroll<NV>([&](auto i) {
          float* sum = sums + r * kStripRows + 16 * i;
          const F32x16 scale = F32x16::Load(terms + 16 * i), bias = biased ? F32x16::Load(terms + kStripRows + 16 * i) : scale;
          AddSum<biased>(dot[r * NV + i].Total().ToF32(), scale, bias, header, span, F32x16::Load(sum)).Store(sum);
        });
      });
    }
}

template <typename Dot, int sum_columns, bool biased, int NV>
void DotTiles(int rows, const State& s, const Panel& panel, int64_t steps, const std::byte* x, int64_t m, float* sums,
              Ahead& ahead) {
  for (int i = 0; i < kVectors; i += NV) {
    ahead.Next();
    const Panel part{panel.codes + i * kLaneBytes, panel.terms + 16 * i};
    float* out = sums + 16 * i;
    switch (rows) {
      case 1: DotTile<Dot, sum_columns, biased, 1, NV>(s, part, steps, x, m, out); break;
      case 2: DotTile<Dot, sum_columns, biased, 2, NV>(s, part, steps, x, m, out); break;
      case 4: DotTile<Dot, sum_columns, biased, 4, NV>(s, part, steps, x, m, out); break;
      default: DotTile<Dot, sum_columns, biased, kTileRows, NV>(s, part, steps, x, m, out); break;
    }
  }
}

// ---- choosing ------------------------------------------------------------------------------------------------------------------

struct DotDecoder {
  using Gemv = void(const State&, const std::byte* strip, const std::byte* x, int64_t m, float* sums);
  Gemv* one_row;
  Gemv* two_rows;
  void (*panel)(const State&, const std::byte* strip, Range steps, const Panel&);
};

template <typename Dot, CodeKind kind, bool lookup>
DotDecoder MakeDotDecoder(const State& s) {
  if (s.sum_columns == 16) return {DotGemv<kind, lookup, Dot, 16, 1>, DotGemv<kind, lookup, Dot, 16, 2>, DecodeSteps<kind, lookup>};
  return {DotGemv<kind, lookup, Dot, 32, 1>, DotGemv<kind, lookup, Dot, 32, 2>, DecodeSteps<kind, lookup>};
}

template <typename Dot>
DotDecoder DotDecoderOf(const State& s) {
  switch (s.kind) {
    case CodeKind::kBits2:
      return s.uses_lookup ? MakeDotDecoder<Dot, CodeKind::kBits2, true>(s) : MakeDotDecoder<Dot, CodeKind::kBits2, false>(s);
    case CodeKind::kBits3:
      return s.uses_lookup ? MakeDotDecoder<Dot, CodeKind::kBits3, true>(s) : MakeDotDecoder<Dot, CodeKind::kBits3, false>(s);
    case CodeKind::kBits4:
      return s.uses_lookup ? MakeDotDecoder<Dot, CodeKind::kBits4, true>(s) : MakeDotDecoder<Dot, CodeKind::kBits4, false>(s);
    case CodeKind::kBits5: return MakeDotDecoder<Dot, CodeKind::kBits5, false>(s);
    case CodeKind::kBits6: return MakeDotDecoder<Dot, CodeKind::kBits6, false>(s);
    default: return MakeDotDecoder<Dot, CodeKind::kBits8, false>(s);
  }
}

// Rows of the next tile when so many are left. Two tiles of four are faster than six and two.
inline int64_t TileRows(int64_t left) {
  if (left >= kTileRows && left != 8) return kTileRows;
  return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

template <typename Dot, int NV>
auto TilesOf(const State& s) {
  if (IsBiased(s)) return s.sum_columns == 16 ? DotTiles<Dot, 16, true, NV> : DotTiles<Dot, 32, true, NV>;
  return s.sum_columns == 16 ? DotTiles<Dot, 16, false, NV> : DotTiles<Dot, 32, false, NV>;
}

// Adds the products of some steps to y of one strip.
template <int NV, typename Dot>
void RunDotSteps(const Segment& segment, int64_t strip, const LinearArgs& args, Range rows, Range steps, const DotDecoder& decoder,
                 float* scratch) {
  const State& s = *static_cast<const State*>(segment.state.get());
  const std::byte* codes = segment.data + strip * s.strip_bytes;
  const auto* x = reinterpret_cast<const std::byte*>(args.x);
  const auto tiles = TilesOf<Dot, NV>(s);
  const Panel panel{reinterpret_cast<std::byte*>(scratch), scratch + kPanelBytes / 4};
  float* sums = panel.terms + kPanelTermFloats;
  LoadSums(segment, strip, steps.begin == 0, args, rows, sums);
  for (int64_t step = steps.begin; step < steps.end; step += kPanelSteps) {
    const Range some{step, step + kPanelSteps < steps.end ? step + kPanelSteps : steps.end};
    decoder.panel(s, codes, some, panel);
    const int64_t next = some.end < steps.end ? some.end * s.step_bytes() : s.strip_bytes + steps.begin * s.step_bytes();
    Ahead ahead(codes + next, kPanelSteps * s.step_bytes(), CeilDiv(rows.size(), kTileRows) * kVectors / NV);
    for (int64_t row = rows.begin, count = 0; row < rows.end; row += count) {
      count = TileRows(rows.end - row);
      tiles(static_cast<int>(count), s, panel, some.size(), x + (step * args.m + row) * XRecordBytes(FormOf<Dot>()), args.m,
            sums + (row - rows.begin) * kStripRows, ahead);
    }
  }
  StoreSums(segment, strip, steps.end == s.steps(), args, rows, sums);
}

template <int NV, typename Dot>
void RunDots(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch) {
  const State& s = *static_cast<const State*>(segment.state.get());
  const DotDecoder decoder = DotDecoderOf<Dot>(s);
  float* floats = reinterpret_cast<float*>(scratch);
  if (args.m <= 2) {  // a panel's way through L1 is worth it from three on
    DotDecoder::Gemv* gemv = args.m == 1 ? decoder.one_row : decoder.two_rows;
    for (int64_t strip = strips.begin; strip < strips.end; ++strip) {
      LoadSums(segment, strip, true, args, {0, args.m}, floats);
      gemv(s, segment.data + strip * s.strip_bytes, reinterpret_cast<const std::byte*>(args.x), args.m, floats);
      StoreSums(segment, strip, true, args, {0, args.m}, floats);
    }
    return;
  }
  for (int64_t row = 0; row < args.m; row += kMostRows) {
    const Range rows{row, row + kMostRows < args.m ? row + kMostRows : args.m};
    const int64_t panels = kDotXBytes / (rows.size() * XRecordBytes(FormOf<Dot>()) * kPanelSteps),
                  most = (panels > 0 ? panels : 1) * kPanelSteps;
    for (int64_t step = 0; step < s.steps(); step += most) {
      const Range steps{step, step + most < s.steps() ? step + most : s.steps()};
      for (int64_t strip = strips.begin; strip < strips.end; ++strip)
        RunDotSteps<NV, Dot>(segment, strip, args, rows, steps, decoder, floats);
    }
  }
}

}  // namespace
}  // namespace nibble::strip64
