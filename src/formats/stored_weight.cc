// SPDX-License-Identifier: Apache-2.0
// DecodeRows: the definition of truth. Evaluation order: the scale product first (S, or S * S2 in f32), then S * (u - Z) with
// (u - Z) in f32, S * T[u], S * float(u), or one fused multiply-add S * u + B.
#include "formats/stored_weight.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "formats/plane.h"
#include "formats/trellis/trellis.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

// A tile of codes that fits the stack; tall enough that readers whose words run along n or whose lines are columns stay quick.
constexpr int64_t kTileRows = 16, kTileCols = 256;

int32_t LoadI32(const TensorView& view, int64_t index) {
  int32_t value;
  std::memcpy(&value, view.data + index * view.stride[0] * 4, sizeof value);
  return value;
}

// Values of all codes where they do not depend on the row: float codes and shared tables.
std::array<float, 256> CodeValues(const Coded& coded) {
  std::array<float, 256> values{};
  const int count = 1 << coded.codes.bits;
  for (int code = 0; code < count; ++code) {
    const auto i = static_cast<size_t>(code);
    if (coded.rule == ValueRule::kFloat) values[i] = DecodeSmallFloat(coded.float_type, static_cast<uint8_t>(code));
    if (coded.rule == ValueRule::kTable) values[i] = LoadScalar(coded.table.dtype, coded.table.data, code * coded.table.stride[0]);
  }
  return values;
}

// True scales of float codes that are stored as reciprocals: one division rounds once, as the tools do.
bool Divides(const Coded& coded) {
  return coded.rule == ValueRule::kFloat && coded.scale.reciprocal && coded.scale.multiplier == 1 && !coded.scale2;
}

// A constant of the format that the tools multiply by last: (S * u) * constant, two roundings (LLM.int8). 1: none.
float LastFactor(const Coded& coded) {
  const bool plain = coded.rule == ValueRule::kIntMinusZero && !coded.scale.reciprocal && !coded.scale2;
  return plain ? coded.scale.multiplier : 1;
}

// One row of at most kTileCols codes. divide: the scale plane holds divisors.
void DecodeCodes(const Coded& coded, const std::array<float, 256>& values, bool divide, int64_t n, Range k, const uint8_t* codes,
                 float* out) {
  float scale[kTileCols], zero[kTileCols];
  const int64_t count = k.size();
  if (coded.rule == ValueRule::kRowTable) {
    const TensorView& table = coded.table;
    const int64_t row = n * table.stride[0];
    for (int64_t i = 0; i < count; ++i) out[i] = LoadScalar(table.dtype, table.data, row + codes[i] * table.stride[1]);
    return;
  }
  if (coded.scale2 && coded.scale2_last) {
    Coded first = coded;
    first.scale2.reset();
    DecodeCodes(first, values, divide, n, k, codes, out);
    ReadPlane(coded, *coded.scale2, n, k, scale);
    for (int64_t i = 0; i < count; ++i) out[i] *= scale[i];
    return;
  }
  ReadScales(coded, n, k, scale);
  if (coded.rule == ValueRule::kTable || coded.rule == ValueRule::kFloat) {
    for (int64_t i = 0; i < count; ++i) out[i] = divide ? values[codes[i]] / scale[i] : scale[i] * values[codes[i]];
    return;
  }
  if (coded.zero) {
    ReadPlane(coded, *coded.zero, n, k, zero);
  } else {
    std::fill_n(zero, count, coded.zero_default);
  }
  if (coded.rule == ValueRule::kIntPlusBias) {
    for (int64_t i = 0; i < count; ++i) out[i] = std::fma(scale[i], static_cast<float>(codes[i]), zero[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = scale[i] * (static_cast<float>(codes[i]) - zero[i]);
  }
}

void Decode(const StoredWeight&, const Coded& stored, Range n, Range k, float* out) {
  const bool divide = Divides(stored);
  const float last = LastFactor(stored);
  Coded raw;
  if (divide || last != 1) {
    raw = stored;
    raw.scale.reciprocal = false;
    raw.scale.multiplier = 1;
  }
  const Coded& coded = divide || last != 1 ? raw : stored;
  NIBBLE_CHECK(coded.codes.bits >= 1 && coded.codes.bits <= 8, "{} bits", coded.codes.bits);
  const std::array<float, 256> values = CodeValues(coded);
  uint8_t codes[kTileRows * kTileCols];
  for (int64_t row = n.begin; row < n.end; row += kTileRows) {
    const Range rows{row, std::min(row + kTileRows, n.end)};
    for (int64_t col = k.begin; col < k.end; col += kTileCols) {
      const Range cols{col, std::min(col + kTileCols, k.end)};
      coded.codes.read(coded.codes, rows, cols, codes);
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        DecodeCodes(coded, values, divide, i, cols, codes + (i - row) * cols.size(),
                    out + (i - n.begin) * k.size() + (col - k.begin));
      }
    }
  }
  if (last == 1) return;
  for (int64_t i = 0; i < n.size() * k.size(); ++i) out[i] *= last;
}

void Decode(const StoredWeight& weight, const Blocked& blocked, Range n, Range k, float* out) {
  const Format& format = *weight.format;
  NIBBLE_CHECK(format.decode != nullptr && format.block_elems <= 1024, "{} has no block decoder", format.name);
  const int64_t size = format.block_elems;
  float block[1024];
  for (int64_t row = n.begin; row < n.end; ++row) {
    const std::byte* data = blocked.blocks.data + row * blocked.blocks.stride[0];
    int64_t at = blocked.k_phase + k.begin;
    const int64_t end = blocked.k_phase + k.end;
    while (at < end) {
      const int64_t first = at / size, inside = at % size;
      if (inside == 0 && end - at >= size) {
        const int64_t count = (end - at) / size;
        format.decode(data, first, count, out);
        out += count * size;
        at += count * size;
      } else {
        const int64_t count = std::min(size - inside, end - at);
        format.decode(data, first, 1, block);
        out = std::copy_n(block + inside, count, out);
        at += count;
      }
    }
  }
}

void Decode(const StoredWeight& weight, const Trellis& trellis, Range n, Range k, float* out) {
  DecodeTrellis(weight, trellis, n, k, out);
}

void Decode(const StoredWeight&, const Dense& dense, Range n, Range k, float* out) {
  const TensorView& w = dense.w;
  for (int64_t row = n.begin; row < n.end; ++row, out += k.size()) {
    const int64_t first = row * w.stride[0] + k.begin * w.stride[1];
    if (w.stride[1] == 1) {
      ConvertToF32(w.dtype, w.data + first * DTypeBytes(w.dtype), k.size(), out);
    } else {
      for (int64_t i = 0; i < k.size(); ++i) out[i] = LoadScalar(w.dtype, w.data, first + i * w.stride[1]);
    }
  }
}

void Decode(const StoredWeight&, const Custom& custom, Range n, Range k, float* out) {
  const Range rows{n.begin + custom.n0, n.end + custom.n0}, cols{k.begin + custom.k0, k.end + custom.k0};
  custom.codec->decode_rows(custom.state.get(), rows, cols, out);
}

}  // namespace

void DecodeRows(const StoredWeight& weight, Range n, Range k, float* out) {
  NIBBLE_CHECK(n.begin >= 0 && n.end <= weight.n && k.begin >= 0 && k.end <= weight.k, "rows {}..{}, columns {}..{} of [{},{}]",
               n.begin, n.end, k.begin, k.end, weight.n, weight.k);
  if (n.empty() || k.empty()) return;
  std::visit(
      [&](const auto& body) {
        if (!weight.row_map) return Decode(weight, body, n, k, out);
        for (int64_t row = n.begin; row < n.end; ++row) {
          const int64_t source = LoadI32(weight.row_map, row);
          Decode(weight, body, {source, source + 1}, k, out + (row - n.begin) * k.size());
        }
      },
      weight.body);
}

StoredWeight MakeDense(TensorView w, Origin origin, std::shared_ptr<const void> keep) {
  NIBBLE_CHECK(w.rank() == 2 && (w.dtype == DType::kF32 || w.dtype == DType::kF16 || w.dtype == DType::kBF16), "dense {} {}",
               DTypeName(w.dtype), w.shape.ToString());
  StoredWeight weight;
  weight.format = FindFormat("dense");
  weight.n = w.dim(0);
  weight.k = w.dim(1);
  weight.body = Dense{w};
  weight.origin = std::move(origin);
  if (keep) weight.keep.push_back(std::move(keep));
  return weight;
}

}  // namespace nibble
