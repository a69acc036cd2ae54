// SPDX-License-Identifier: Apache-2.0
#include "methods/quanto/codec.h"

#include <algorithm>
#include <vector>

#include "tensors/scalar.h"

namespace nibble {
namespace {

void Round(DType dtype, float* values, int64_t count) {
  if (dtype == DType::kF32) return;
  std::byte bytes[256 * 2];
  for (int64_t begin = 0; begin < count; begin += 256) {
    const int64_t size = std::min<int64_t>(256, count - begin);
    ConvertFromF32(dtype, values + begin, size, bytes);
    ConvertToF32(dtype, bytes, size, values + begin);
  }
}

float Value(const QuantoState& state, uint8_t code) {
  if (state.value_type == DType::kU8) return code;
  if (state.value_type == DType::kI8) return static_cast<float>(code) - 128;
  return DecodeSmallFloat(state.value_type, code);
}

// Columns k of one row that share a scale.
void DecodeRun(const QuantoState& state, int64_t block, const uint8_t* codes, int64_t count, float* out) {
  const DType dtype = state.scale.dtype;
  const float scale = LoadScalar(dtype, state.scale.data, block);
  const float shift = state.shift ? LoadScalar(state.shift.dtype, state.shift.data, block) : 0;
  const bool real = state.shift && IsFloat(state.shift.dtype);
  for (int64_t i = 0; i < count; ++i) out[i] = scale * (real ? Value(state, codes[i]) : Value(state, codes[i]) - shift);
  Round(dtype, out, count);
  if (!real) return;
  for (int64_t i = 0; i < count; ++i) out[i] -= shift;
  Round(dtype, out, count);
}

void DecodeQuanto(const void* untyped, Range n, Range k, float* out) {
  const auto& state = *static_cast<const QuantoState*>(untyped);
  std::vector<uint8_t> codes(static_cast<size_t>(k.size()));
  for (int64_t row = n.begin; row < n.end; ++row) {
    state.codes.read(state.codes, {row, row + 1}, k, codes.data());
    for (int64_t column = k.begin; column < k.end;) {
      const int64_t element = row * state.k + column, block = element / state.block;
      const int64_t stop = std::min(k.end, column + (block + 1) * state.block - element);
      DecodeRun(state, block, codes.data() + (column - k.begin), stop - column, out);
      out += stop - column;
      column = stop;
    }
  }
}

}  // namespace

const CustomCodec* FindQuantoCodec(std::string_view type) {
  static constexpr CustomCodec kCodecs[] = {
      {"qint2", DecodeQuanto, 2.25}, {"qint4", DecodeQuanto, 4.25}, {"qint8", DecodeQuanto, 8}, {"qfloat8", DecodeQuanto, 8}};
  for (const CustomCodec& codec : kCodecs)
    if (type.starts_with(codec.name)) return &codec;  // qfloat8_e4m3fn, qfloat8_e5m2
  return nullptr;
}

}  // namespace nibble
