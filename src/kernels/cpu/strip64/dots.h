// SPDX-License-Identifier: Apache-2.0
// The integer kernels of strip64d, written once on the types of dot_*.h. An ISA file includes its vec_*.h and dot_*.h, then this,
// and calls RunDots<NV, Dot>: NV units of 16 rows make a register tile.
//
// Products of codes and integer x are summed exactly over 32 or 16 columns; the sum becomes a float once, is multiplied by the
// scales of W and x, and is added to y's sum. All kernels do this in the same order (kSumOrderInteger), so all agree bit for bit.
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

// A loop, because g++ takes a lambda that only prefetches for one without effect and drops its calls.
template <int lines>
inline void Prefetch(const std::byte* p) {
#pragma GCC unroll 16
  for (int i = 0; i < lines; ++i) __builtin_prefetch(p + i * kLaneBytes);
}

// Codes of quad q of a step, 16 rows from `unit` on. For a table, bits 4 to 6 may hold anything (Bytes64::Lookup).
template <CodeKind kind, bool lookup, int q>
inline Bytes64 LoadQuad(const std::byte* step, int unit) {
  const auto line = [&](int i) { return Bytes64::Load(step + unit * UnitBytes(kind) + i * kLaneBytes); };
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
inline Bytes64 DecodeQuad(const State& s, const std::byte* step, int unit) {
  const Bytes64 codes = LoadQuad<kind, lookup, q>(step, unit);
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
// Where codes are places in a table.
enum class Table : uint8_t { kNone, kBytes, kWide };

// Four columns of 16 rows as Dot multiplies them, out [kPhases].
template <CodeKind kind, Table table, typename Dot, int q>
inline void LoadOperands(const State& s, const std::byte* step, int unit, typename Dot::Operand* out) {
  if constexpr (table == Table::kWide) {
    Dot::LookupWide(LoadQuad<kind, false, q>(step, unit), s.wide_low, s.wide_high, out);
  } else {
    const Bytes64 w = DecodeQuad<kind, table == Table::kBytes, q>(s, step, unit);
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

// x: the first row's record in the first step; records of a step are m apart. sums [rows][64].
template <CodeKind kind, Table table, typename Dot, int sum_columns, int rows>
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
    const std::byte* codes = strip + step * s.step_bytes();
    const std::byte* ahead = codes + kPrefetchSteps * s.step_bytes() + (step < last ? 0 : to_next);
    Unroll<kQuads / quads>([&](auto half) {
      constexpr int span = sum_columns == 32 ? 0 : 1 + decltype(half)::value;
      const int64_t group = GroupOf(s, step * kXStep + half * sum_columns);
      if (group != loaded) {
        LoadDotTerms(s, strip, group, &terms);
        PrefetchTerms(s, strip, group + groups_ahead);
        loaded = group;
      }
      for (int unit = 0; unit < kVectors; ++unit) {
        if constexpr (half == 0) Prefetch<UnitBytes(kind) / kLaneBytes>(ahead + unit * UnitBytes(kind));
        Dot dot[rows];
        Unroll<rows>([&](auto r) { dot[r] = Dot::Start(HeaderOf(x + r * record), span, zero); });
        Unroll<quads>([&](auto i) {
          constexpr int q = decltype(half)::value * quads + decltype(i)::value;
          typename Dot::Operand operand[Dot::kPhases];
          LoadOperands<kind, table, Dot, q>(s, codes, unit, operand);
          const std::byte* at = x + kXHeaderBytes + q * quad_bytes;
          Unroll<Dot::kPhases>([&](auto phase) {
            Unroll<rows>([&](auto r) { dot[r] = dot[r].Plus(operand[phase], at + r * record + 4 * phase); });
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
          LoadOperands<kind, table, Dot, decltype(q)::value>(s, codes, unit, operand);
          Unroll<Dot::kPhases>([&](auto p) { operand[p].Store(out + (q * Dot::kPhases + p) * kChunkBytes + unit * kLaneBytes); });
        } else {
          DecodeQuad<kind, table == Table::kBytes, decltype(q)::value>(s, codes, unit)
              .Store(out + q * kChunkBytes + unit * kLaneBytes);
        }
      });
    for (int half = 0; half < kXStep / s.sum_columns; ++half) {
      Terms terms;
      const int64_t group = GroupOf(s, step * kXStep + half * s.sum_columns);
      LoadDotTerms(s, strip, group, &terms);
      PrefetchTerms(s, strip, group + kPanelSteps * kXStep / s.sum_columns);
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
template <typename Dot, int sum_columns, bool biased, bool wide, int rows, int NV>
inline void DotTile(const State& s, const Panel& panel, int64_t steps, const std::byte* x, int64_t m, float* sums) {
  constexpr int quads = sum_columns / 4, quad_bytes = 4 * Dot::kPhases;
  constexpr int64_t record = XRecordBytes(FormOf<Dot>());
  const std::byte* codes = panel.codes;
  const float* terms = panel.terms;
  const int zero = static_cast<int>(s.zero);
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
      Unroll<rows>([&](auto r) {
        const XHeader& header = HeaderOf(x + r * record);
        Unroll<NV>([&](auto i) {
          float* sum = sums + r * kStripRows + 16 * i;
          const float* term = terms + half * 2 * kStripRows + 16 * i;
          const F32x16 scale = F32x16::Load(term), bias = biased ? F32x16::Load(term + kStripRows) : scale;
          AddSum<biased>(dot[r * NV + i].Total().ToF32(), scale, bias, header, span, F32x16::Load(sum)).Store(sum);
        });
      });
    }
}

}  // namespace
}  // namespace nibble::strip64

#include "kernels/cpu/strip64/two_level.h"

namespace nibble::strip64 {
namespace {

// ---- choosing ------------------------------------------------------------------------------------------------------------------

using TilesFn = void(int rows, const State&, const Panel&, int64_t steps, const std::byte* x, int64_t m, float* sums, Ahead&);

// tile: a callable with the arguments of DotTile, its rows as an integral constant first.
template <int NV, typename Tile>
void Tiles(const Tile& tile, int rows, const Panel& panel, float* sums, Ahead& ahead) {
  for (int i = 0; i < kVectors; i += NV) {
    ahead.Next();
    const Panel part{panel.codes + i * kLaneBytes, panel.terms + 16 * i};
    float* out = sums + 16 * i;
    switch (rows) {
      case 1: tile(std::integral_constant<int, 1>{}, part, out); break;
      case 2: tile(std::integral_constant<int, 2>{}, part, out); break;
      case 4: tile(std::integral_constant<int, 4>{}, part, out); break;
      default: tile(std::integral_constant<int, kTileRows>{}, part, out); break;
    }
  }
}

template <typename Dot, int sum_columns, bool biased, int NV, bool wide = false>
void DotTiles(int rows, const State& s, const Panel& panel, int64_t steps, const std::byte* x, int64_t m, float* sums,
              Ahead& ahead) {
  const auto tile = [&](auto r, const Panel& part, float* out) {
    DotTile<Dot, sum_columns, biased, wide, decltype(r)::value, NV>(s, part, steps, x, m, out);
  };
  Tiles<NV>(tile, rows, panel, sums, ahead);
}

template <Centre centre, typename Dot, int sum_columns, int NV>
void TwoLevelTiles(int rows, const State& s, const Panel& panel, int64_t steps, const std::byte* x, int64_t m, float* sums,
                   Ahead& ahead) {
  const auto tile = [&](auto r, const Panel& part, float* out) {
    TwoLevelTile<centre, Dot, sum_columns, decltype(r)::value, NV>(s, part, steps, x, m, out);
  };
  Tiles<NV>(tile, rows, panel, sums, ahead);
}

struct DotDecoder {
  using Gemv = void(const State&, const std::byte* strip, const std::byte* x, int64_t m, float* sums);
  Gemv* one_row;
  Gemv* two_rows;
  void (*panel)(const State&, const std::byte* strip, Range steps, const Panel&);
  TilesFn* tiles;
  int parts;  // calls of a tile for 64 rows of W
  int tile_rows = kTileRows;
};

template <typename Dot, int NV>
TilesFn* TilesOf(const State& s) {
  if (IsBiased(s)) return s.sum_columns == 16 ? DotTiles<Dot, 16, true, NV> : DotTiles<Dot, 32, true, NV>;
  return s.sum_columns == 16 ? DotTiles<Dot, 16, false, NV> : DotTiles<Dot, 32, false, NV>;
}

template <typename Dot, int NV, CodeKind kind, Table table = Table::kNone>
DotDecoder MakeDotDecoder(const State& s) {
  const auto panel = DecodeSteps<kind, table, Dot>;
  TilesFn* tiles = TilesOf<Dot, NV>(s);
  if (s.sum_columns == 16) return {DotGemv<kind, table, Dot, 16, 1>, DotGemv<kind, table, Dot, 16, 2>, panel, tiles, kVectors / NV};
  return {DotGemv<kind, table, Dot, 32, 1>, DotGemv<kind, table, Dot, 32, 2>, panel, tiles, kVectors / NV};
}

template <typename Dot, int NV>
DotDecoder MakeWideDecoder() {
  constexpr CodeKind kind = CodeKind::kBits4;
  return {DotGemv<kind, Table::kWide, Dot, 32, 1>, DotGemv<kind, Table::kWide, Dot, 32, 2>, DecodeSteps<kind, Table::kWide, Dot>,
          DotTiles<Dot, 32, false, NV, true>, kVectors / NV};
}

template <typename Dot, int NV>
DotDecoder DotDecoderOf(const State& s) {
  constexpr Table bytes = Table::kBytes;
  if constexpr (Dot::kPhases == 2)
    if (s.wide) return MakeWideDecoder<Dot, NV>();
  switch (s.kind) {
    case CodeKind::kBits2:
      return s.uses_lookup ? MakeDotDecoder<Dot, NV, CodeKind::kBits2, bytes>(s) : MakeDotDecoder<Dot, NV, CodeKind::kBits2>(s);
    case CodeKind::kBits3:
      return s.uses_lookup ? MakeDotDecoder<Dot, NV, CodeKind::kBits3, bytes>(s) : MakeDotDecoder<Dot, NV, CodeKind::kBits3>(s);
    case CodeKind::kBits4:
      return s.uses_lookup ? MakeDotDecoder<Dot, NV, CodeKind::kBits4, bytes>(s) : MakeDotDecoder<Dot, NV, CodeKind::kBits4>(s);
    case CodeKind::kBits5: return MakeDotDecoder<Dot, NV, CodeKind::kBits5>(s);
    case CodeKind::kBits6: return MakeDotDecoder<Dot, NV, CodeKind::kBits6>(s);
    default: return MakeDotDecoder<Dot, NV, CodeKind::kBits8>(s);
  }
}

template <typename Dot, int NV, CodeKind kind, SubKind subs, bool lookup = false>
DotDecoder MakeTwoLevelDecoder() {
  return {TwoLevelGemv<kind, subs, lookup, Dot, 1>,
          TwoLevelGemv<kind, subs, lookup, Dot, 2>,
          DecodeTwoLevel<kind, subs, lookup, Dot>,
          TwoLevelTiles<CentreOf<Dot>(subs, lookup), Dot, TwoLevelColumns<Dot>(kind, subs, lookup), NV>,
          kVectors / NV,
          CentreOf<Dot>(subs, lookup) == Centre::kAfter ? 4 : kTileRows};  // sums of four columns leave no registers for more
}

// Of states with a SubKind.
template <typename Dot, int NV>
DotDecoder TwoLevelDecoderOf(const State& s) {
  switch (s.kind) {
    case CodeKind::kBits2: return MakeTwoLevelDecoder<Dot, NV, CodeKind::kBits2, SubKind::kNibbles>();
    case CodeKind::kBits3:
      if (!s.uses_lookup) return MakeTwoLevelDecoder<Dot, NV, CodeKind::kBits3, SubKind::kSubPair>();
      return s.subs == SubKind::kSub ? MakeTwoLevelDecoder<Dot, NV, CodeKind::kBits3, SubKind::kSub, true>()
                                     : MakeTwoLevelDecoder<Dot, NV, CodeKind::kBits3, SubKind::kSubPair, true>();
    case CodeKind::kBits4: return MakeTwoLevelDecoder<Dot, NV, CodeKind::kBits4, SubKind::kSubAndMin>();
    case CodeKind::kBits5: return MakeTwoLevelDecoder<Dot, NV, CodeKind::kBits5, SubKind::kSubAndMin>();
    default: return MakeTwoLevelDecoder<Dot, NV, CodeKind::kBits6, SubKind::kSubPair>();
  }
}

template <typename Dot, int NV>
DotDecoder DecoderFor(const State& s) {
  return s.subs == SubKind::kNone ? DotDecoderOf<Dot, NV>(s) : TwoLevelDecoderOf<Dot, NV>(s);
}

// Rows of the next tile when so many are left. Two tiles of four are faster than six and two.
inline int64_t TileRows(int64_t left, int64_t most) {
  if (left >= most && left != 8) return most;
  return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// Adds the products of some steps to y of one strip.
template <typename Dot>
void RunDotSteps(const Segment& segment, int64_t strip, const LinearArgs& args, Range rows, Range steps, const DotDecoder& decoder,
                 float* scratch) {
  const State& s = *static_cast<const State*>(segment.state.get());
  const std::byte* codes = segment.data + strip * s.strip_bytes;
  const auto* x = reinterpret_cast<const std::byte*>(args.x);
  const Panel panel{reinterpret_cast<std::byte*>(scratch), scratch + kPanelBytes / 4};
  float* sums = panel.terms + kPanelTermFloats;
  LoadSums(segment, strip, steps.begin == 0, args, rows, sums);
  for (int64_t step = steps.begin; step < steps.end; step += kPanelSteps) {
    const Range some{step, step + kPanelSteps < steps.end ? step + kPanelSteps : steps.end};
    decoder.panel(s, codes, some, panel);
    const int64_t next = some.end < steps.end ? some.end * s.step_bytes() : s.strip_bytes + steps.begin * s.step_bytes();
    Ahead ahead(codes + next, kPanelSteps * s.step_bytes(), CeilDiv(rows.size(), decoder.tile_rows) * decoder.parts);
    for (int64_t row = rows.begin, count = 0; row < rows.end; row += count) {
      count = TileRows(rows.end - row, decoder.tile_rows);
      decoder.tiles(static_cast<int>(count), s, panel, some.size(), x + (step * args.m + row) * XRecordBytes(FormOf<Dot>()), args.m,
                    sums + (row - rows.begin) * kStripRows, ahead);
    }
  }
  StoreSums(segment, strip, steps.end == s.steps(), args, rows, sums);
}

template <int NV, typename Dot>
void RunDots(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch) {
  const State& s = *static_cast<const State*>(segment.state.get());
  const DotDecoder decoder = DecoderFor<Dot, NV>(s);
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
        RunDotSteps<Dot>(segment, strip, args, rows, steps, decoder, floats);
    }
  }
}

}  // namespace
}  // namespace nibble::strip64
