// SPDX-License-Identifier: Apache-2.0
// Weights of every kind with random codes, for the tests of kernels.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "kernels/linear.h"
#include "tensors/scalar.h"

namespace nibble {

struct Owned {
  std::vector<std::shared_ptr<std::vector<std::byte>>> bytes;
  TensorView Make(DType dtype, Shape shape, const std::function<float(int64_t)>& value) {
    auto data = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(shape.elems() * DTypeBytes(dtype)));
    for (int64_t i = 0; i < shape.elems(); ++i) StoreScalar(dtype, data->data(), i, value(i));
    bytes.push_back(data);
    return TensorView(data->data(), dtype, shape);
  }
};

inline void ReadBytes(const CodeSource& source, Range n, Range k, uint8_t* out) {
  for (int64_t i = n.begin; i < n.end; ++i)
    for (int64_t j = k.begin; j < k.end; ++j)
      *out++ = static_cast<uint8_t>(source.t[0].data[(i + source.n0) * source.t[0].stride[0] + j + source.k0]);
}

struct Case {
  std::string name;
  int bits;
  ValueRule rule = ValueRule::kIntMinusZero;
  DType float_type = DType::kNone;
  DType scale = DType::kF16;
  int64_t group = 0;
  bool zero = false, act_order = false;
  DType zero_dtype = DType::kU8;
};

inline StoredWeight MakeCoded(const Case& c, int64_t n, int64_t k, Owned* owned, std::mt19937* rng) {
  std::uniform_real_distribution<float> uniform(0.001f, 0.1f);
  Coded coded;
  coded.codes = {.read = ReadBytes, .bits = c.bits};
  const int mask = (1 << c.bits) - 1;
  const bool e4m3 = c.float_type == DType::kE4M3, e5m2 = c.float_type == DType::kE5M2;
  coded.codes.t[0] = owned->Make(DType::kU8, {n, k}, [&](int64_t) {
    int u = static_cast<int>((*rng)()) & mask;
    if (e4m3 && (u & 0x7f) == 0x7f) u = 1;
    if (e5m2 && (u & 0x7c) == 0x7c) u = 2;
    return static_cast<float>(u);
  });
  coded.rule = c.rule;
  coded.float_type = c.float_type;
  const int64_t groups = c.group ? CeilDiv(k, c.group) : 1;
  coded.scale = {
      .data = owned->Make(c.scale, {n, groups}, [&](int64_t) { return uniform(*rng); }), .block_n = 1, .block_k = c.group};
  if (c.zero) {
    Plane zero{.data = owned->Make(c.zero_dtype, {n, groups},
                                   [&](int64_t) {
                                     return c.zero_dtype == DType::kU8 ? static_cast<float>((*rng)() & static_cast<unsigned>(mask))
                                                                       : uniform(*rng);
                                   }),
               .block_n = 1,
               .block_k = c.group};
    coded.zero = zero;
  }
  coded.zero_default = c.rule == ValueRule::kIntMinusZero ? static_cast<float>(1 << (c.bits - 1)) : 0.0f;
  if (c.rule == ValueRule::kTable)
    coded.table = owned->Make(DType::kF32, {mask + 1}, [&](int64_t i) { return std::sin(static_cast<float>(i)); });
  if (c.act_order)
    coded.group_of_k =
        owned->Make(DType::kI32, {k}, [&](int64_t) { return static_cast<float>((*rng)() % static_cast<unsigned>(groups)); });
  StoredWeight w;
  w.format = FindFormat(c.rule == ValueRule::kFloat ? "fp8" : c.rule == ValueRule::kTable ? "table" : "int_group");
  w.n = n;
  w.k = k;
  w.body = coded;
  w.origin.tensor = c.name;
  return w;
}

inline std::vector<float> RandomX(int64_t m, int64_t k, std::mt19937* rng) {
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(m * k));
  for (float& v : x) v = normal(*rng);
  return x;
}

// One row of a ggml format's blocks, of random bits; a block whose scales make infinities or huge numbers is drawn again.
inline void DrawBlockedRow(FormatId format, int64_t k, std::mt19937_64* rng, uint8_t* row) {
  std::vector<float> values(static_cast<size_t>(format->block_elems));
  if (format->row_meta_bytes == 4) {
    const float scale = 0.01f;
    std::memcpy(row, &scale, 4);
  }
  for (int64_t block = 0; block < k / format->block_elems; ++block)
    for (bool good = false; !good;) {
      uint8_t* at = row + format->row_meta_bytes + block * format->block_bytes;
      for (int i = 0; i < format->block_bytes; ++i) at[i] = static_cast<uint8_t>((*rng)());
      format->decode(reinterpret_cast<const std::byte*>(row), block, 1, values.data());
      good = true;
      for (const float v : values) good &= std::isfinite(v) && std::fabs(v) < 1e4f;
    }
}

inline StoredWeight MakeBlocked(FormatId format, int64_t n, int64_t k, std::mt19937* rng) {
  const int64_t row_bytes = format->row_bytes(k);
  auto bytes = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(n * row_bytes));
  std::mt19937_64 bits((*rng)());
  for (int64_t r = 0; r < n; ++r) DrawBlockedRow(format, k, &bits, bytes->data() + r * row_bytes);
  StoredWeight w;
  w.format = format;
  w.n = n;
  w.k = k;
  w.body = Blocked{TensorView(bytes->data(), DType::kU8, {n, row_bytes})};
  w.keep.push_back(bytes);
  return w;
}

// Every instruction set with kernels of its own that this processor has.
inline std::vector<Isa> IsasHere() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni})
    if (isa <= Cpu().isa) isas.push_back(isa);
  return isas;
}

}  // namespace nibble
