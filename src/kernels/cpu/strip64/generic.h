// SPDX-License-Identifier: Apache-2.0
// The strip64 kernels, written once on F32x16. An ISA file includes its vec_*.h, then this, and calls RunStrips.
//
// One row of x: codes are decoded in registers and multiplied at once. More rows: a panel of 128 columns x 64 rows is decoded
// once, in slices that stay in L1, and used for all rows, six at a time. Both sum in the same order (kernels/linear.h).
#pragma once

#include "kernels/cpu/strip64/terms.h"
#include "kernels/cpu/unroll.h"

namespace nibble::strip64 {
namespace {

constexpr int kTileVectors = F32x16::kWide ? 4 : 1;  // vectors of 16 rows in a register tile: 32 registers or 16
constexpr int64_t kTileStrip = 16 * kTileVectors;

// The codes of one column as four vectors.
template <CodeKind kind>
inline void LoadCodes(const std::byte* p, Codes16* out) {
  if constexpr (kind == CodeKind::kBits2 || kind == CodeKind::kBits3) {
    const Codes16 low = Codes16::Load(p);
    for (int i = 0; i < kVectors; ++i) out[i] = low.Field(2 * i, 3);
  } else if constexpr (kind == CodeKind::kBits4 || kind == CodeKind::kBits5 || kind == CodeKind::kBits6) {
    const Codes16 a = Codes16::Load(p), b = Codes16::Load(p + 16);
    out[0] = a.Field(0, 15);
    out[1] = b.Field(0, 15);
    out[2] = a.Field(4, 15);
    out[3] = b.Field(4, 15);
  } else {
    for (int i = 0; i < kVectors; ++i) out[i] = Codes16::Load(p + 16 * i);
  }
  if constexpr (kind == CodeKind::kBits3 || kind == CodeKind::kBits5) {
    const uint16_t* bits = reinterpret_cast<const uint16_t*>(p + (kind == CodeKind::kBits3 ? 16 : 32));
    for (int i = 0; i < kVectors; ++i) out[i] = out[i].WithBits(bits[i], kind == CodeKind::kBits3 ? 4 : 16);
  }
  if constexpr (kind == CodeKind::kBits6) {
    const Codes16 high = Codes16::Load(p + 32);
    for (int i = 0; i < kVectors; ++i) out[i] = out[i].Or(high.Field(2 * i, 3), 4);
  }
}

// The four weight vectors of one column.
template <CodeKind kind, Rule rule, bool table>
inline void DecodeColumn(const State& s, const std::byte* p, const Terms& terms, F32x16* out) {
  if constexpr (kind == CodeKind::kF32 || kind == CodeKind::kF16 || kind == CodeKind::kBF16) {
    constexpr DType dtype = kind == CodeKind::kF32 ? DType::kF32 : kind == CodeKind::kF16 ? DType::kF16 : DType::kBF16;
    for (int i = 0; i < kVectors; ++i) out[i] = LoadValues(dtype, p, 16 * i);
    return;
  } else if constexpr (rule == Rule::kScaledSum) {
    for (int i = 0; i < kVectors; ++i) out[i] = F32x16::LoadE4M3Parts(p + 16 * i);
  } else if constexpr (kind == CodeKind::kE4M3 || kind == CodeKind::kE5M2) {
    for (int i = 0; i < kVectors; ++i)
      out[i] = terms.scale[i] * (kind == CodeKind::kE4M3 ? F32x16::LoadE4M3Parts(p + 16 * i) : F32x16::LoadE5M2(p + 16 * i));
  } else {
    Codes16 codes[kVectors];
    LoadCodes<kind>(p, codes);
    for (int i = 0; i < kVectors; ++i) {
      if constexpr (rule == Rule::kScaled && table) {
        constexpr bool small = kind == CodeKind::kBits2 || kind == CodeKind::kBits3 || kind == CodeKind::kBits4;
        out[i] = terms.scale[i] * (small ? codes[i].Lookup16(s.table) : codes[i].Lookup256(s.table));
      } else if constexpr (rule == Rule::kScaled) {
        out[i] = terms.scale[i] * (codes[i].ToF32() - F32x16::Set(s.zero));
      } else if constexpr (rule == Rule::kMinusZero) {
        out[i] = terms.scale[i] * (codes[i].ToF32() - terms.zero[i]);
      } else {
        out[i] = F32x16::Fma(terms.scale[i], codes[i].ToF32(), terms.zero[i]);
      }
    }
  }
}

// Group of column k and the end of the run of columns (not past `end`) that share it.
inline int64_t GroupRun(const State& s, int64_t k, int64_t end, int64_t* run_end) {
  if (s.groups == 1) {
    *run_end = end;
    return 0;
  }
  if (s.group_of_k.empty()) {
    const int64_t group = (k + s.k_phase) / s.group_elems, next = (group + 1) * s.group_elems - s.k_phase;
    *run_end = next < end ? next : end;
    return group;
  }
  const int32_t* map = s.group_of_k.data();
  int64_t j = k + 1;
  while (j < end && map[j] == map[k]) ++j;
  *run_end = j;
  return map[k];
}

// Runs of columns that share their terms, of some strips.
template <CodeKind kind, Rule rule, typename Body>
inline void ForEachRun(const State& s, const std::byte* strip, int strips, Range k, const Body& body) {
  Terms terms[kFloatStrips];
  for (int64_t column = k.begin, run_end = k.end; column < k.end; column = run_end) {
    run_end = k.end;
    if constexpr (rule != Rule::kPlain && rule != Rule::kScaledSum) {
      const int64_t group = GroupRun(s, column, k.end, &run_end);
      for (int i = 0; i < strips; ++i) LoadTerms(s, strip + i * s.strip_bytes, group, &terms[i]);
    }
    if constexpr (kind == CodeKind::kE4M3 && rule == Rule::kScaled)
      for (int i = 0; i < strips; ++i)
        for (F32x16& scale : terms[i].scale) scale = scale * F32x16::Set(F32x16::kE4M3Factor);
    body(Range{column, run_end}, terms);
  }
}

struct BlockArgs {
  const State* state;
  const std::byte* strip;
  int strips;  // of Gemv: at most kFloatStrips
  Range k;
  const float* x;  // row 0, column 0
  float* out;      // Gemv: [strips][64] sums of this block; DecodePanel: [64 / kTileStrip][kBlockK][kTileStrip]
};

// Strips side by side, 512 bytes of one and then of the next; registers hold the sums of one.
template <CodeKind kind, Rule rule, bool table>
void Gemv(const BlockArgs& args) {
  constexpr int code_bytes = CodeBytes(kind), burst = 512 / code_bytes;
  const State& s = *args.state;
  __builtin_memset(args.out, 0, static_cast<size_t>(args.strips * kStripRows) * sizeof(float));
  ForEachRun<kind, rule>(s, args.strip, args.strips, args.k, [&](Range run, const Terms* terms) {
    for (int64_t column = run.begin; column < run.end; column += burst) {
      const int64_t end = column + burst < run.end ? column + burst : run.end;
      for (int i = 0; i < args.strips; ++i) {
        const std::byte* codes = args.strip + i * s.strip_bytes;
        float* out = args.out + i * kStripRows;
        F32x16 sum[kVectors];
        Unroll<kVectors>([&](auto v) { sum[v] = F32x16::Load(out + 16 * v); });
        for (int64_t c = column; c < end; ++c) {
          F32x16 w[kVectors];
          DecodeColumn<kind, rule, table>(s, codes + c * code_bytes, terms[i], w);
          const F32x16 x = F32x16::Set(args.x[c]);
          Unroll<kVectors>([&](auto v) { sum[v] = F32x16::Fma(w[v], x, sum[v]); });
        }
        Unroll<kVectors>([&](auto v) { sum[v].Store(out + 16 * v); });
      }
    }
  });
}

// Scales of the block that begins with column k, of a kScaledSum, times `factor`.
inline void LoadSumScales(const State& s, const std::byte* strip, int64_t k, float factor, F32x16* out) {
  int64_t run_end = 0;
  Terms terms;
  LoadTerms(s, strip, GroupRun(s, k, k + 1, &run_end), &terms);
  for (int i = 0; i < kVectors; ++i) out[i] = terms.scale[i] * F32x16::Set(factor);
}

// e4m3, kScaledSum: as Gemv, but nothing is done to a weight beyond moving its bits.
void GemvE4M3(const BlockArgs& args) {
  constexpr int burst = 512 / kStripRows;
  const State& s = *args.state;
  float x[kBlockK];
  for (int64_t i = 0; i < args.k.size(); ++i) x[i] = args.x[args.k.begin + i] * F32x16::kE4M3XFactor;
  __builtin_memset(args.out, 0, static_cast<size_t>(args.strips * kStripRows) * sizeof(float));
  for (int64_t column = args.k.begin; column < args.k.end; column += burst) {
    const int64_t end = column + burst < args.k.end ? column + burst : args.k.end;
    for (int i = 0; i < args.strips; ++i) {
      const std::byte* codes = args.strip + i * s.strip_bytes;
      float* out = args.out + i * kStripRows;
      F32x16 sum[kVectors];
      Unroll<kVectors>([&](auto v) { sum[v] = F32x16::Load(out + 16 * v); });
      for (int64_t c = column; c < end; ++c) F32x16::FmaE4M3(codes + c * kStripRows, x[c - args.k.begin], sum);
      Unroll<kVectors>([&](auto v) { sum[v].Store(out + 16 * v); });
    }
  }
  for (int i = 0; i < args.strips; ++i) {
    float* out = args.out + i * kStripRows;
    F32x16 sum[kVectors], scale[kVectors];
    for (int v = 0; v < kVectors; ++v) sum[v] = F32x16::Load(out + 16 * v);
    F32x16::OrderE4M3(sum);
    LoadSumScales(s, args.strip + i * s.strip_bytes, args.k.begin, F32x16::kE4M3SumFactor, scale);
    for (int v = 0; v < kVectors; ++v) (sum[v] * scale[v]).Store(out + 16 * v);
  }
}

template <CodeKind kind, Rule rule, bool table>
void DecodePanel(const BlockArgs& args) {
  ForEachRun<kind, rule>(*args.state, args.strip, 1, args.k, [&](Range run, const Terms* terms) {
    for (int64_t column = run.begin; column < run.end; ++column) {
      F32x16 w[kVectors];
      DecodeColumn<kind, rule, table>(*args.state, args.strip + column * CodeBytes(kind), *terms, w);
      float* out = args.out + (column - args.k.begin) * kTileStrip;
      for (int i = 0; i < kVectors; ++i) w[i].Store(out + i / kTileVectors * kBlockK * kTileStrip + i % kTileVectors * 16);
    }
  });
}

struct Decoder {
  void (*gemv)(const BlockArgs&) = nullptr;
  void (*panel)(const BlockArgs&) = nullptr;
};

template <CodeKind kind, Rule rule, bool table>
Decoder MakeDecoder() {
  return {Gemv<kind, rule, table>, DecodePanel<kind, rule, table>};
}

template <CodeKind kind>
Decoder DecoderOfInt(const State& s) {
  if (s.rule == Rule::kMinusZero) return MakeDecoder<kind, Rule::kMinusZero, false>();
  if (s.rule == Rule::kPlusBias) return MakeDecoder<kind, Rule::kPlusBias, false>();
  return s.uses_table ? MakeDecoder<kind, Rule::kScaled, true>() : MakeDecoder<kind, Rule::kScaled, false>();
}

Decoder DecoderOf(const State& s) {
  switch (s.kind) {
    case CodeKind::kBits2: return DecoderOfInt<CodeKind::kBits2>(s);
    case CodeKind::kBits3: return DecoderOfInt<CodeKind::kBits3>(s);
    case CodeKind::kBits4: return DecoderOfInt<CodeKind::kBits4>(s);
    case CodeKind::kBits5: return DecoderOfInt<CodeKind::kBits5>(s);
    case CodeKind::kBits6: return DecoderOfInt<CodeKind::kBits6>(s);
    case CodeKind::kBits8: return DecoderOfInt<CodeKind::kBits8>(s);
    case CodeKind::kE4M3:
      if (s.rule == Rule::kScaledSum) return {GemvE4M3, DecodePanel<CodeKind::kE4M3, Rule::kScaledSum, false>};
      return MakeDecoder<CodeKind::kE4M3, Rule::kScaled, false>();
    case CodeKind::kE5M2: return MakeDecoder<CodeKind::kE5M2, Rule::kScaled, false>();
    case CodeKind::kF16: return MakeDecoder<CodeKind::kF16, Rule::kPlain, false>();
    case CodeKind::kBF16: return MakeDecoder<CodeKind::kBF16, Rule::kPlain, false>();
    case CodeKind::kF32: break;
  }
  return MakeDecoder<CodeKind::kF32, Rule::kPlain, false>();
}

// rows x kTileStrip tile: the sum over the panel's columns of x[column][r] * panel[column], times scale [kTileStrip] if there is
// one, is added to out[r][0..kTileStrip); panel [columns][kTileStrip], x [columns][kTileRows], out [rows][64].
template <int rows>
inline void Tile(const float* panel, int64_t columns, const float* scale, const float* x, float* out) {
  constexpr int NV = kTileVectors;
  F32x16 sum[rows * NV];
  Unroll<rows * NV>([&](auto j) { sum[j] = F32x16::Zero(); });
  for (int64_t c = 0; c < columns; ++c, panel += kTileStrip, x += kTileRows) {
    F32x16 w[NV];
    Unroll<NV>([&](auto i) { w[i] = F32x16::Load(panel + 16 * i); });
    Unroll<rows>([&](auto r) {
      const F32x16 value = F32x16::Set(x[r]);
      Unroll<NV>([&](auto i) { sum[r * NV + i] = F32x16::Fma(w[i], value, sum[r * NV + i]); });
    });
  }
  if (scale) Unroll<rows * NV>([&](auto j) { sum[j] = sum[j] * F32x16::Load(scale + 16 * (j % NV)); });
  Unroll<rows * NV>([&](auto j) {
    float* at = out + j / NV * kStripRows + 16 * (j % NV);
    (F32x16::Load(at) + sum[j]).Store(at);
  });
}

// scales [64] or null.
void Tiles(int64_t rows, const float* panel, int64_t columns, const float* scales, const float* x, float* out, Ahead& ahead) {
  for (int64_t i = 0; i < kStripRows; i += kTileStrip, panel += kBlockK * kTileStrip) {
    ahead.Next();
    float* o = out + i;
    const float* scale = scales ? scales + i : nullptr;
    switch (rows) {
      case 1: Tile<1>(panel, columns, scale, x, o); break;
      case 2: Tile<2>(panel, columns, scale, x, o); break;
      case 3: Tile<3>(panel, columns, scale, x, o); break;
      case 4: Tile<4>(panel, columns, scale, x, o); break;
      case 5: Tile<5>(panel, columns, scale, x, o); break;
      default: Tile<kTileRows>(panel, columns, scale, x, o); break;
    }
  }
}

void RunOneRow(const Segment& segment, Range strips, const LinearArgs& args, const Decoder& decoder, float* sums) {
  const State& s = *static_cast<const State*>(segment.state.get());
  float* totals = sums + kFloatStrips * kStripRows;
  for (int64_t strip = strips.begin; strip < strips.end; strip += kFloatStrips) {
    const int count = static_cast<int>(strips.end - strip < kFloatStrips ? strips.end - strip : kFloatStrips);
    for (int64_t k = 0; k < s.k; k += kBlockK) {
      const Range block{k, k + kBlockK < s.k ? k + kBlockK : s.k};
      decoder.gemv({&s, segment.data + strip * s.strip_bytes, count, block, args.x, k == 0 ? totals : sums});
      if (k == 0) continue;
      for (int64_t i = 0; i < count * kStripRows; i += 16) (F32x16::Load(totals + i) + F32x16::Load(sums + i)).Store(totals + i);
    }
    for (int i = 0; i < count; ++i) StoreSums(segment, strip + i, true, args, {0, 1}, totals + i * kStripRows);
  }
}

// ---- more rows: x of some rows and columns is copied in the order that tiles read it.

constexpr int64_t kPanelFloats = kBlockK * kStripRows;
constexpr int64_t kXFloats = kLinearScratchBytes / 4 - kPanelFloats - kSumFloats;

// Rows of the next tile when so many are left: a tile of one or two rows waits for the multiplier, two of four do not.
inline int64_t TileRows(int64_t left) {
  return left >= 2 * kTileRows ? kTileRows : left > kTileRows ? CeilDiv(left, int64_t{2}) : left;
}
inline int64_t TilesOf(int64_t rows) { return CeilDiv(rows, kTileRows); }

// x [rows][columns] -> [tile][column][kTileRows]
void CopyX(const float* x, int64_t stride, int64_t rows, int64_t columns, float* out) {
  for (int64_t row = 0, count = 0; row < rows; row += count, out += columns * kTileRows) {
    count = TileRows(rows - row);
    for (int64_t r = 0; r < count; ++r) {
      const float* in = x + (row + r) * stride;
      for (int64_t c = 0; c < columns; ++c) out[c * kTileRows + r] = in[c];
    }
  }
}

struct Scratch {
  float *panel, *sums, *x;
};

// Adds the products of columns `chunk`, which begins with a block, to y of one strip.
void RunChunk(const Segment& segment, int64_t strip, const LinearArgs& args, Range rows, Range chunk, const Decoder& decoder,
              const Scratch& scratch) {
  const State& s = *static_cast<const State*>(segment.state.get());
  const std::byte* codes = segment.data + strip * s.strip_bytes;
  LoadSums(segment, strip, chunk.begin == 0, args, rows, scratch.sums);
  const float* x = scratch.x;
  for (int64_t k = chunk.begin; k < chunk.end; k += kBlockK) {
    const Range block{k, k + kBlockK < chunk.end ? k + kBlockK : chunk.end};
    decoder.panel({&s, codes, 1, block, nullptr, scratch.panel});
    float scales[kStripRows];
    if (s.rule == Rule::kScaledSum) {
      F32x16 scale[kVectors];
      LoadSumScales(s, codes, k, F32x16::kE4M3Factor, scale);
      for (int i = 0; i < kVectors; ++i) scale[i].Store(scales + 16 * i);
    }
    const std::byte* next =
        codes + (block.end < chunk.end ? block.end * CodeBytes(s.kind) : s.strip_bytes + chunk.begin * CodeBytes(s.kind));
    Ahead ahead(next, kBlockK * CodeBytes(s.kind), TilesOf(rows.size()) * kStripRows / kTileStrip);
    for (int64_t row = 0, count = 0; row < rows.size(); row += count, x += block.size() * kTileRows) {
      count = TileRows(rows.size() - row);
      Tiles(count, scratch.panel, block.size(), s.rule == Rule::kScaledSum ? scales : nullptr, x, scratch.sums + row * kStripRows,
            ahead);
    }
  }
  StoreSums(segment, strip, chunk.end == s.k, args, rows, scratch.sums);
}

void RunRows(const Segment& segment, Range strips, const LinearArgs& args, Range rows, const Decoder& decoder,
             const Scratch& scratch) {
  const int64_t padded = TilesOf(rows.size()) * kTileRows, columns = kXFloats / padded / kBlockK * kBlockK;
  for (int64_t k = 0; k < segment.k; k += columns) {
    const Range chunk{k, k + columns < segment.k ? k + columns : segment.k};
    float* x = scratch.x;
    for (int64_t begin = chunk.begin; begin < chunk.end; begin += kBlockK) {
      const int64_t size = chunk.end - begin < kBlockK ? chunk.end - begin : kBlockK;
      CopyX(args.x + rows.begin * args.x_stride + begin, args.x_stride, rows.size(), size, x);
      x += padded * size;
    }
    for (int64_t strip = strips.begin; strip < strips.end; ++strip) RunChunk(segment, strip, args, rows, chunk, decoder, scratch);
  }
}

void RunStrips(const Segment& segment, Range strips, const LinearArgs& args, std::byte* scratch) {
  const Decoder decoder = DecoderOf(*static_cast<const State*>(segment.state.get()));
  float* floats = reinterpret_cast<float*>(scratch);
  if (args.m == 1) return RunOneRow(segment, strips, args, decoder, floats);
  const int64_t parts = CeilDiv(args.m, kMostRows);
  for (int64_t part = 0; part < parts; ++part)
    RunRows(segment, strips, args, SplitRange(args.m, part, parts), decoder,
            {floats, floats + kPanelFloats, floats + kPanelFloats + kSumFloats});
}

}  // namespace
}  // namespace nibble::strip64
