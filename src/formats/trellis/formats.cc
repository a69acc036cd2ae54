// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "formats/format.h"
#include "formats/trellis/trellis.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr int kTileElems = 256, kWindow = 16;
constexpr float kMadScale = 147.800537109375f;  // of QTIP's byte sums

constexpr std::string_view kNames[] = {"1mad", "2mad", "3inst", "mcg", "mul1", "lut", "quantlut", "quantlut_sym"};

int ByteSum(uint32_t x) { return static_cast<int>((x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24)); }

// Two f16 numbers made of the halves of x, added with one rounding to f16.
float SumOfHalves(uint32_t x) {
  x = (x & 0x8fff8fffu) ^ 0x3b603b60u;
  return F16ToF32(F32ToF16(F16ToF32(static_cast<uint16_t>(x)) + F16ToF32(static_cast<uint16_t>(x >> 16))));
}

// All values of a function of the window, computed once.
const std::vector<float>& ValuesOf(TrellisCode code) {
  const auto make = [](TrellisCode which) {
    std::vector<float> values(1u << kWindow);
    for (uint32_t window = 0; window < values.size(); ++window) values[window] = TrellisValue(which, window);
    return values;
  };
  static const std::array<std::vector<float>, 5> all = {make(TrellisCode::k1Mad), make(TrellisCode::k2Mad),
                                                        make(TrellisCode::k3Inst), make(TrellisCode::kMcg),
                                                        make(TrellisCode::kMul1)};
  return all[static_cast<size_t>(code)];
}

// Stream position of tile element 16 row + column.
using Positions = std::array<uint8_t, kTileElems>;
Positions MakePositions(TrellisOrder order) {
  Positions positions{};
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 16; ++column) {
      int position = 16 * row + column;
      if (order == TrellisOrder::kKernel) {
        // mma.m16n8k16's A fragment: row 8 a + b, column 8 c1 + 2 c2 + c3.
        const int a = row / 8, b = row % 8, c1 = column / 8, c2 = column % 8 / 2, c3 = column % 2;
        position = (((b * 4 + c2) * 2 + c1) * 2 + a) * 2 + c3;
      } else if (order == TrellisOrder::kExl3) {
        // The same fragment of the transposed matrix: input 8 a + 2 b + c, output 8 d + e.
        const int a = column / 8, b = column % 8 / 2, c = column % 2, d = row / 8, e = row % 8;
        position = 8 * (4 * e + b) + 4 * d + 2 * a + c;
      }
      positions[static_cast<size_t>(16 * row + column)] = static_cast<uint8_t>(position);
    }
  }
  return positions;
}
const Positions& PositionsOf(TrellisOrder order) {
  static const Positions all[] = {MakePositions(TrellisOrder::kPlain), MakePositions(TrellisOrder::kKernel),
                                  MakePositions(TrellisOrder::kExl3)};
  return all[static_cast<size_t>(order)];
}

// The ring of one tile's bits as bytes, high bit first, with its first three bytes again at the end.
struct Ring {
  std::array<uint8_t, 2 * 16 * 8 + 3> bytes{};
  int size = 0;

  // 16 bits from `bit`, any number: the ring goes round.
  uint32_t Window(int bit) const {
    bit %= 8 * size;
    if (bit < 0) bit += 8 * size;
    const auto at = static_cast<size_t>(bit / 8);
    const uint32_t three = static_cast<uint32_t>(bytes[at]) << 16 | static_cast<uint32_t>(bytes[at + 1]) << 8 | bytes[at + 2];
    return three >> (8 - bit % 8) & 0xffffu;
  }
};

Ring LoadRing(const StoredWeight& weight, const Trellis& trellis, int64_t tile_row, int64_t tile_column) {
  Ring ring;
  ring.size = 32 * trellis.bits;
  const auto* data = reinterpret_cast<const uint8_t*>(trellis.tiles.data);
  const int64_t tile_columns = weight.k / kTrellisTile, tile_rows = weight.n / kTrellisTile;
  switch (static_cast<TrellisOrder>(trellis.tile_order)) {
    case TrellisOrder::kPlain:
      data += (tile_row * tile_columns + tile_column) * ring.size;
      for (int i = 0; i < ring.size; ++i) ring.bytes[static_cast<size_t>(i)] = data[i ^ 1];
      break;
    case TrellisOrder::kKernel: {
      // Chunks of `bits` bytes, reversed; those of a 2 x 2 block of tiles lie together: [32 chunks][column][row].
      const int64_t block = (tile_row / 2 * (tile_columns / 2) + tile_column / 2) * 32;
      for (int64_t p = 0; p < 32; ++p) {
        const auto* chunk = data + ((block + p) * 4 + tile_column % 2 * 2 + tile_row % 2) * trellis.bits;
        for (int i = 0; i < trellis.bits; ++i) ring.bytes[static_cast<size_t>(p * trellis.bits + i)] = chunk[trellis.bits - 1 - i];
      }
      break;
    }
    case TrellisOrder::kExl3:
      data += (tile_column * tile_rows + tile_row) * ring.size;
      for (int i = 0; i < ring.size; ++i) ring.bytes[static_cast<size_t>(i)] = data[i ^ 3];
      break;
  }
  for (int i = 0; i < 3; ++i) ring.bytes[static_cast<size_t>(ring.size + i)] = ring.bytes[static_cast<size_t>(i)];
  return ring;
}

std::atomic<int> g_override{-1};  // a TrellisCode, or -1

// Values of windows.
class Codebook {
 public:
  explicit Codebook(const Trellis& trellis) : lut_(trellis.lut), code_(static_cast<TrellisCode>(trellis.codebook)) {
    const int override = g_override.load(std::memory_order_relaxed);
    if (override >= 0) {
      code_ = static_cast<TrellisCode>(override);
      computes_ = true;
    } else if (code_ <= TrellisCode::kMul1) {
      values_ = ValuesOf(code_).data();
    } else {
      shift_ = (code_ == TrellisCode::kQuantLutSym ? 15 : 16) - (std::bit_width(static_cast<uint64_t>(lut_.dim(0))) - 1);
    }
  }
  float Value(uint32_t window, int component) const {
    if (values_) return values_[window];
    if (computes_) return TrellisValue(code_, window);
    uint32_t index = window, product = window * (window + 1);
    if (code_ != TrellisCode::kLut) index = product >> shift_ & (static_cast<uint32_t>(lut_.dim(0)) - 1);
    const float value = LoadScalar(lut_.dtype, lut_.data, index * lut_.stride[0] + component * lut_.stride[1]);
    const bool minus = code_ == TrellisCode::kQuantLutSym && component == 0 && (product & 0x8000u);
    return minus ? -value : value;
  }

 private:
  const TensorView& lut_;
  TrellisCode code_;
  const float* values_ = nullptr;
  bool computes_ = false;
  int shift_ = 0;
};

}  // namespace

void OverrideTrellisCode(std::optional<TrellisCode> code) {
  NIBBLE_CHECK(!code || *code <= TrellisCode::kMul1, "{} needs a table", TrellisCodeName(*code));
  g_override = code ? static_cast<int>(*code) : -1;
}

std::string_view TrellisCodeName(TrellisCode code) { return kNames[static_cast<size_t>(code)]; }

std::optional<TrellisCode> ParseTrellisCode(std::string_view name) {
  const auto found = std::find(std::begin(kNames), std::end(kNames), name);
  if (found == std::end(kNames)) return std::nullopt;
  return static_cast<TrellisCode>(found - std::begin(kNames));
}

float TrellisValue(TrellisCode code, uint32_t window) {
  switch (code) {
    case TrellisCode::k1Mad: return static_cast<float>(ByteSum(window * 34038481u + 76625530u) - 510) / kMadScale;
    case TrellisCode::k2Mad: {
      uint32_t x = window * 264435761u + 1013904223u;
      x += static_cast<uint32_t>(uint64_t{x} * 1664525u >> 32);
      return static_cast<float>(ByteSum(x) - 510) / kMadScale;
    }
    case TrellisCode::k3Inst: return SumOfHalves(window * 89226354u + 64248484u);
    case TrellisCode::kMcg: return SumOfHalves(window * 0xCBAC1FEDu);
    case TrellisCode::kMul1: {
      // One fused multiply-add of f16; the product is exact in f32, its sum in f64.
      const float sum = static_cast<float>(ByteSum(window * 0x83DCD12Du) + 1024);
      const double exact = static_cast<double>(sum) * F16ToF32(0x1EEE) + F16ToF32(0xC931);
      return F16ToF32(F32ToF16(static_cast<float>(exact)));
    }
    default: NIBBLE_CHECK(false, "{} needs a table", TrellisCodeName(code));
  }
  return 0;
}

void DecodeTrellis(const StoredWeight& weight, const Trellis& trellis, Range n, Range k, float* out) {
  const auto order = static_cast<TrellisOrder>(trellis.tile_order);
  const Positions& positions = PositionsOf(order);
  const Codebook codebook(trellis);
  const int step = trellis.bits * trellis.vec;
  for (int64_t tile_row = n.begin / kTrellisTile; tile_row * kTrellisTile < n.end; ++tile_row) {
    const Range rows{std::max(n.begin, tile_row * kTrellisTile), std::min(n.end, (tile_row + 1) * kTrellisTile)};
    for (int64_t tile_column = k.begin / kTrellisTile; tile_column * kTrellisTile < k.end; ++tile_column) {
      const Range columns{std::max(k.begin, tile_column * kTrellisTile), std::min(k.end, (tile_column + 1) * kTrellisTile)};
      const Ring ring = LoadRing(weight, trellis, tile_row, tile_column);
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        float* to = out + (row - n.begin) * k.size() - k.begin;
        for (int64_t column = columns.begin; column < columns.end; ++column) {
          const int position = positions[static_cast<size_t>(row % 16 * 16 + column % 16)], index = position / trellis.vec;
          const int bit = order == TrellisOrder::kExl3 ? (index + 1) * step - kWindow : index * step;
          to[column] = codebook.Value(ring.Window(bit), position % trellis.vec);
        }
      }
    }
  }
}

namespace {
constexpr Format kTrellisFormats[] = {{"trellis", "windows of 16 bits over a ring of bits: QTIP, EXL3"}};
}  // namespace

std::span<const Format> trellis_formats() { return kTrellisFormats; }

}  // namespace nibble
