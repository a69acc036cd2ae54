// SPDX-License-Identifier: Apache-2.0
// Which loops of dots.h and two_level.h a weight takes, and how they run over its strips. An ISA file includes its vec_*.h and
// dot_*.h, then this, and calls RunDots<NV, Dot>: NV units of 16 rows make a register tile.
#pragma once

#include "kernels/cpu/strip64/dots.h"
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
      case 2: tile(std::integral_constant<int, 2>{}, part, out); break;
      case 3: tile(std::integral_constant<int, 3>{}, part, out); break;
      case 4: tile(std::integral_constant<int, 4>{}, part, out); break;
      default: tile(std::integral_constant<int, kTileRows>{}, part, out); break;
    }
  }
}

template <typename Dot, int sum_columns, int NV, bool wide = false>
void DotTiles(int rows, const State& s, const Panel& panel, int64_t steps, const std::byte* x, int64_t m, float* sums,
              Ahead& ahead) {
  const auto tile = [&](auto r, const Panel& part, float* out) {
    DotTile<Dot, sum_columns, wide, decltype(r)::value, NV>(s, part, steps, x, m, out);
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
  using Gemv = void(const State&, const std::byte* strip, int strips, const std::byte* x, int64_t m, float* sums);
  Gemv* one_row = nullptr;
  // Null without Dot::kPanels.
  Gemv* two_rows = nullptr;
  void (*panel)(const State&, const std::byte* strip, Range steps, const Panel&) = nullptr;
  TilesFn* tiles = nullptr;
  int parts = 0;  // calls of a tile for 64 rows of W
  int tile_rows = kTileRows;
};

template <typename Dot, int NV, CodeKind kind, Table table = Table::kNone>
DotDecoder MakeDotDecoder(const State& s) {
  if constexpr (Dot::kPanels) {
    TilesFn* tiles = s.sum_columns == kXStep ? DotTiles<Dot, kXStep, NV> : DotTiles<Dot, kXStep / 2, NV>;
    return {DotGemv<kind, table, Dot, 1>, DotGemv<kind, table, Dot, 2>, DecodeSteps<kind, table, Dot>, tiles, kVectors / NV};
  }
  return {.one_row = DotGemv<kind, table, Dot, 1>};
}

template <typename Dot, int NV>
DotDecoder MakeWideDecoder() {
  constexpr CodeKind kind = CodeKind::kBits4;
  if constexpr (!Dot::kPanels)
    return {.one_row = DotGemv<kind, Table::kWide, Dot, 1>};
  else
    return {DotGemv<kind, Table::kWide, Dot, 1>, DotGemv<kind, Table::kWide, Dot, 2>, DecodeSteps<kind, Table::kWide, Dot>,
            DotTiles<Dot, kXStep, NV, true>, kVectors / NV};
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
  if constexpr (!Dot::kPanels)
    return {.one_row = TwoLevelGemv<kind, subs, lookup, Dot, 1>};
  else
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

// Rows of the next tile when so many are left, three or more at first: 2, 3, 4 or kTileRows, never one alone. Two tiles of four are
// faster than six and two.
inline int64_t TileRows(int64_t left, int64_t most) {
  if (left == 5) return 3;
  return left >= most && left != 7 && left != 8 ? most : left < 4 ? left : 4;
}

// One row of x, or two; without Dot::kPanels one after the other.
template <typename Dot>
void RunFewRows(const Segment& segment, Range strips, const LinearArgs& args, const DotDecoder& decoder, float* sums) {
  const State& s = *static_cast<const State*>(segment.state.get());
  const int64_t at_once = Dot::kPanels ? args.m : 1, floats_each = at_once * kStripRows;
  DotDecoder::Gemv* gemv = at_once == 1 ? decoder.one_row : decoder.two_rows;
  for (int64_t strip = strips.begin; strip < strips.end; strip += kDotStrips) {
    const int count = static_cast<int>(strips.end - strip < kDotStrips ? strips.end - strip : kDotStrips);
    for (int64_t row = 0; row < args.m; row += at_once) {
      const Range rows{row, row + at_once};
      for (int i = 0; i < kDotStrips; ++i) LoadSums(segment, strip, true, args, rows, sums + i * floats_each);
      gemv(s, segment.data + strip * s.strip_bytes, count,
           reinterpret_cast<const std::byte*>(args.x) + row * XRecordBytes(FormOf<Dot>()), args.m, sums);
      for (int i = 0; i < count; ++i) StoreSums(segment, strip + i, true, args, rows, sums + i * floats_each);
    }
  }
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
  if (args.m <= 2 || !Dot::kPanels)  // a panel's way through L1 is worth it from three on
    return RunFewRows<Dot>(segment, strips, args, decoder, floats);
  const int64_t parts = CeilDiv(args.m, kMostRows);
  for (int64_t part = 0; part < parts; ++part) {
    const Range rows = SplitRange(args.m, part, parts);
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
