// SPDX-License-Identifier: Apache-2.0
#include "kv_cache/kv_format.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/math.h"
#include "base/nearest_names.h"
#include "formats/transform.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

template <typename T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <typename T>
void Store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

float AbsMax(const float* x, int64_t width) {
  float amax = 0;
  for (int64_t i = 0; i < width; ++i) amax = std::max(amax, std::fabs(x[i]));
  return amax;
}

// Orthonormal and symmetric: its own inverse.
void Rotate(float* x, int64_t width) {
  const Transform hadamard{.kind = Transform::kHadamard, .block = width & -width};
  const Status done = ApplyTransforms({&hadamard, 1}, x, width, nullptr);  // powers of two need no scratch
  NIBBLE_CHECK(done.has_value(), "{}", done.error().message);
}

// --- one byte an element ---

void EncodeE5m2(const float* x, int64_t width, float, std::byte* row) { ConvertFromF32(DType::kE5M2, x, width, row); }
void DecodeE5m2(const std::byte* row, int64_t width, float* out) { ConvertToF32(DType::kE5M2, row, width, out); }

void EncodeScaledFp8(const float* x, int64_t width, float, std::byte* row) {
  const float scale = std::max(AbsMax(x, width) / 448.0f, 1e-6f);
  Store(row, scale);
  for (int64_t i = 0; i < width; ++i) row[4 + i] = std::byte{EncodeSmallFloat(DType::kE4M3, x[i] / scale)};
}
void DecodeScaledFp8(const std::byte* row, int64_t width, float* out) {
  const auto scale = Load<float>(row);
  ConvertToF32(DType::kE4M3, row + 4, width, out);
  for (int64_t i = 0; i < width; ++i) out[i] *= scale;
}

void EncodeInt8(const float* x, int64_t width, float, std::byte* row) {
  const float scale = std::max(AbsMax(x, width) / 127.0f, 1e-6f), inverse = 1.0f / scale;
  Store(row, scale);
  for (int64_t i = 0; i < width; ++i)
    row[4 + i] = static_cast<std::byte>(static_cast<int8_t>(std::clamp(std::round(x[i] * inverse), -128.0f, 127.0f)));
}
void EncodeStaticInt8(const float* x, int64_t width, float scale, std::byte* row) {
  Store(row, scale);
  for (int64_t i = 0; i < width; ++i)
    row[4 + i] = static_cast<std::byte>(static_cast<int8_t>(std::clamp(std::nearbyint(x[i] / scale), -128.0f, 127.0f)));
}
void DecodeInt8(const std::byte* row, int64_t width, float* out) {
  const auto scale = Load<float>(row);
  for (int64_t i = 0; i < width; ++i) out[i] = scale * static_cast<float>(static_cast<int8_t>(row[4 + i]));
}

// --- codes of fewer bits, packed from the lowest bit ---

void PackBits(const uint8_t* codes, int64_t count, int bits, std::byte* out) {
  uint32_t word = 0;
  int filled = 0;
  for (int64_t i = 0; i < count; ++i) {
    word |= static_cast<uint32_t>(codes[i]) << filled;
    for (filled += bits; filled >= 8; filled -= 8, word >>= 8) *out++ = static_cast<std::byte>(word & 255);
  }
  if (filled > 0) *out = static_cast<std::byte>(word & 255);
}
void UnpackBits(const std::byte* in, int64_t count, int bits, uint8_t* codes) {
  uint32_t word = 0;
  int filled = 0;
  for (int64_t i = 0; i < count; ++i, word >>= bits, filled -= bits) {
    if (filled < bits) {
      word |= static_cast<uint32_t>(*in++) << filled;
      filled += 8;
    }
    codes[i] = static_cast<uint8_t>(word & ((1u << bits) - 1));
  }
}

int64_t Int4Bytes(int64_t width) { return 4 + RoundUp(CeilDiv(width, 2), 4); }

void EncodeInt4(const float* x, int64_t width, float, std::byte* row) {
  float rotated[kMaxEncodedKvWidth];
  uint8_t codes[kMaxEncodedKvWidth];
  std::copy_n(x, width, rotated);
  Rotate(rotated, width);
  const auto [low, high] = std::minmax_element(rotated, rotated + width);
  const float scale = std::max((*high - *low) / 15.0f, 1e-6f);
  const float zero = std::clamp(std::round(-*low / scale), 0.0f, 15.0f);
  for (int64_t i = 0; i < width; ++i)
    codes[i] = static_cast<uint8_t>(std::clamp(std::round(rotated[i] / scale + zero), 0.0f, 15.0f));
  Store(row, (std::bit_cast<uint32_t>(scale) & ~15u) | static_cast<uint32_t>(zero));
  PackBits(codes, width, 4, row + 4);
}
void DecodeInt4(const std::byte* row, int64_t width, float* out) {
  uint8_t codes[kMaxEncodedKvWidth];
  const auto word = Load<uint32_t>(row);
  const float scale = std::bit_cast<float>(word & ~15u), zero = static_cast<float>(word & 15u);
  UnpackBits(row + 4, width, 4, codes);
  for (int64_t i = 0; i < width; ++i) out[i] = scale * (static_cast<float>(codes[i]) - zero);
  Rotate(out, width);
}

// --- nvfp4: [f32 global, negative: rotated][e4m3 scales][codes] ---

int64_t Nvfp4Bytes(int64_t width) { return 4 + RoundUp(CeilDiv(width, 16) + CeilDiv(width, 2), 4); }

void EncodeNvfp4(const float* x, int64_t width, float global, std::byte* row) {
  uint8_t codes[kMaxEncodedKvWidth];
  Store(row, global);
  for (int64_t begin = 0; begin < width; begin += 16) {
    const int64_t count = std::min<int64_t>(16, width - begin);
    const uint8_t code = EncodeSmallFloat(DType::kE4M3, AbsMax(x + begin, count) / (6.0f * global));
    row[4 + begin / 16] = std::byte{code};
    const float step = DecodeSmallFloat(DType::kE4M3, code) * global;
    for (int64_t i = begin; i < begin + count; ++i) codes[i] = step > 0 ? EncodeSmallFloat(DType::kE2M1, x[i] / step) : 0;
  }
  PackBits(codes, width, 4, row + 4 + CeilDiv(width, 16));
}
float Nvfp4Global(const float* x, int64_t width) { return std::max(AbsMax(x, width) / (6.0f * 448.0f), 1e-30f); }
void EncodeNvfp4K(const float* x, int64_t width, float, std::byte* row) {
  float rotated[kMaxEncodedKvWidth];
  std::copy_n(x, width, rotated);
  Rotate(rotated, width);
  const float global = Nvfp4Global(rotated, width);
  EncodeNvfp4(rotated, width, global, row);
  Store(row, -global);
}
void EncodeNvfp4V(const float* x, int64_t width, float, std::byte* row) { EncodeNvfp4(x, width, Nvfp4Global(x, width), row); }
void EncodeStaticNvfp4(const float* x, int64_t width, float scale, std::byte* row) { EncodeNvfp4(x, width, scale / 6.0f, row); }

void DecodeNvfp4(const std::byte* row, int64_t width, float* out) {
  uint8_t codes[kMaxEncodedKvWidth];
  const auto global = Load<float>(row);
  UnpackBits(row + 4 + CeilDiv(width, 16), width, 4, codes);
  for (int64_t i = 0; i < width; ++i)
    out[i] = DecodeSmallFloat(DType::kE4M3, static_cast<uint8_t>(row[4 + i / 16])) * std::fabs(global) *
             DecodeSmallFloat(DType::kE2M1, codes[i]);
  if (std::signbit(global)) Rotate(out, width);
}

// --- turbo: keys by Lloyd-Max, values uniform ---

double NormalDensity(double x) { return std::exp(-0.5 * x * x) * 0.3989422804014327; }
double NormalBelow(double x) { return 0.5 * std::erfc(-x * 0.7071067811865476); }

// Centroids of N(0, 1): each is the mean of the values nearest to it. 200 rounds from a uniform start on +-3.5.
template <int bits>
const std::array<float, 1 << bits>& Centroids() {
  static const std::array<float, 1 << bits> centroids = [] {
    constexpr int kCount = 1 << bits;
    std::array<double, kCount> c{};
    for (int i = 0; i < kCount; ++i) c[static_cast<size_t>(i)] = -3.5 + 7.0 * i / (kCount - 1);
    for (int round = 0; round < 200; ++round) {
      std::array<double, kCount> next{};
      for (size_t i = 0; i < kCount; ++i) {
        const double low = i == 0 ? -INFINITY : (c[i - 1] + c[i]) / 2, high = i + 1 == kCount ? INFINITY : (c[i] + c[i + 1]) / 2;
        const double mass = NormalBelow(high) - NormalBelow(low);
        next[i] = mass > 0 ? (NormalDensity(low) - NormalDensity(high)) / mass : c[i];
      }
      c = next;
    }
    std::array<float, kCount> f{};
    std::copy(c.begin(), c.end(), f.begin());
    return f;
  }();
  return centroids;
}

template <int bits>
int64_t TurboKeyBytes(int64_t width) {
  return RoundUp(2 + CeilDiv(width * bits, 8), 4);
}
template <int bits>
void EncodeTurboKey(const float* x, int64_t width, float, std::byte* row) {
  float rotated[kMaxEncodedKvWidth];
  uint8_t codes[kMaxEncodedKvWidth];
  std::copy_n(x, width, rotated);
  Rotate(rotated, width);
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(rotated[i]) * static_cast<double>(rotated[i]);
  const auto norm = static_cast<float>(std::sqrt(sum));
  Store(row, F32ToF16(std::min(norm, 65504.0f)));
  const float to_unit = norm > 0 ? std::sqrt(static_cast<float>(width)) / norm : 0;
  const auto& centroids = Centroids<bits>();
  for (int64_t i = 0; i < width; ++i) {
    const float value = rotated[i] * to_unit;
    const auto above = std::lower_bound(centroids.begin(), centroids.end(), value);
    auto at = above - centroids.begin();
    if (above == centroids.end() || (at > 0 && value - *(above - 1) <= *above - value)) --at;
    codes[i] = static_cast<uint8_t>(at);
  }
  PackBits(codes, width, bits, row + 2);
}
template <int bits>
void DecodeTurboKey(const std::byte* row, int64_t width, float* out) {
  uint8_t codes[kMaxEncodedKvWidth];
  UnpackBits(row + 2, width, bits, codes);
  float sum = 0;
  for (int64_t i = 0; i < width; ++i) {
    out[i] = Centroids<bits>()[codes[i]];
    sum += out[i] * out[i];
  }
  const float scale = sum > 0 ? F16ToF32(Load<uint16_t>(row)) / std::sqrt(sum) : 0;
  for (int64_t i = 0; i < width; ++i) out[i] *= scale;
  Rotate(out, width);
}

template <int bits>
int64_t TurboValueBytes(int64_t width) {
  return RoundUp(4 + CeilDiv(width * bits, 8), 4);
}
template <int bits>
void EncodeTurboValue(const float* x, int64_t width, float, std::byte* row) {
  constexpr float kLevels = (1 << bits) - 1;
  uint8_t codes[kMaxEncodedKvWidth];
  const auto [low, high] = std::minmax_element(x, x + width);
  const uint16_t scale_bits = F32ToF16(std::max((*high - *low) / kLevels, 1e-6f)), low_bits = F32ToF16(*low);
  const float scale = F16ToF32(scale_bits), base = F16ToF32(low_bits);
  Store(row, scale_bits);
  Store(row + 2, low_bits);
  for (int64_t i = 0; i < width; ++i) codes[i] = static_cast<uint8_t>(std::clamp(std::round((x[i] - base) / scale), 0.0f, kLevels));
  PackBits(codes, width, bits, row + 4);
}
template <int bits>
void DecodeTurboValue(const std::byte* row, int64_t width, float* out) {
  uint8_t codes[kMaxEncodedKvWidth];
  const float scale = F16ToF32(Load<uint16_t>(row)), base = F16ToF32(Load<uint16_t>(row + 2));
  UnpackBits(row + 4, width, bits, codes);
  for (int64_t i = 0; i < width; ++i) out[i] = base + scale * static_cast<float>(codes[i]);
}

constexpr KvFormat Plain(std::string_view name, DType element, int bits) {
  return {.name = name, .element = element, .bits = bits, .adds_bias = element == DType::kE4M3};
}
using Bytes = decltype(KvFormat::row_bytes);
using Encode = decltype(KvFormat::encode);
using Decode = decltype(KvFormat::decode);
constexpr KvFormat Encoded(std::string_view name, int bits, Bytes row_bytes, Encode encode, Decode decode) {
  return {.name = name, .bits = bits, .keeps_ends = bits <= 4, .row_bytes = row_bytes, .encode = encode, .decode = decode};
}
// No ends: the tool that measured the scales quantized every position.
constexpr KvFormat Static(std::string_view name, int bits, Bytes row_bytes, Encode encode, Decode decode) {
  return {.name = name, .bits = bits, .row_bytes = row_bytes, .encode = encode, .decode = decode};
}
// Bytes that attention reads as they lie.
constexpr KvFormat Codes(std::string_view name, DType element, bool row_scale, Encode encode, Decode decode,
                         bool adds_bias = false) {
  return {.name = name,
          .element = element,
          .row_scale = row_scale,
          .bits = 8,
          .adds_bias = adds_bias,
          .encode = encode,
          .decode = decode};
}

constexpr KvFormat kF32 = Plain("f32", DType::kF32, 32), kF16 = Plain("f16", DType::kF16, 16),
                   kBF16 = Plain("bf16", DType::kBF16, 16), kFp8 = Plain("fp8", DType::kE4M3, 8),
                   kE5m2 = Codes("fp8_e5m2", DType::kE5M2, false, EncodeE5m2, DecodeE5m2),
                   kFp8Token = Codes("fp8_per_token_head", DType::kE4M3, true, EncodeScaledFp8, DecodeScaledFp8),
                   kInt8 = Codes("int8", DType::kI8, true, EncodeInt8, DecodeInt8),
                   kInt4 = Encoded("int4", 4, Int4Bytes, EncodeInt4, DecodeInt4),
                   kNvfp4K = Encoded("nvfp4", 4, Nvfp4Bytes, EncodeNvfp4K, DecodeNvfp4),
                   kNvfp4V = Encoded("nvfp4", 4, Nvfp4Bytes, EncodeNvfp4V, DecodeNvfp4),
                   kTurbo4K = Encoded("turbo4", 4, TurboKeyBytes<4>, EncodeTurboKey<4>, DecodeTurboKey<4>),
                   kTurbo3K = Encoded("turbo3", 3, TurboKeyBytes<3>, EncodeTurboKey<3>, DecodeTurboKey<3>),
                   kTurbo4V = Encoded("turbo4", 4, TurboValueBytes<4>, EncodeTurboValue<4>, DecodeTurboValue<4>),
                   kTurbo3V = Encoded("turbo3", 3, TurboValueBytes<3>, EncodeTurboValue<3>, DecodeTurboValue<3>),
                   kStaticNvfp4 = Static("static nvfp4", 4, Nvfp4Bytes, EncodeStaticNvfp4, DecodeNvfp4),
                   kStaticInt8 = Codes("static int8", DType::kI8, true, EncodeStaticInt8, DecodeInt8, true);

struct Name {
  std::string_view name;
  const KvFormat *k, *v;
};
constexpr Name kNames[] = {
    {"f32", &kF32, &kF32},
    {"f16", &kF16, &kF16},
    {"bf16", &kBF16, &kBF16},
    {"fp8", &kFp8, &kFp8},
    {"fp8_e5m2", &kE5m2, &kE5m2},
    {"fp8_per_token_head", &kFp8Token, &kFp8Token},
    {"int8", &kInt8, &kInt8},
    {"int4", &kInt4, &kInt4},
    {"nvfp4", &kNvfp4K, &kNvfp4V},
    {"turbo4", &kTurbo4K, &kTurbo4V},
    {"turbo3", &kTurbo3K, &kTurbo3V},
    // From here on other tools' spellings.
    {"float32", &kF32, &kF32},
    {"float16", &kF16, &kF16},
    {"bfloat16", &kBF16, &kBF16},
    {"fp8_e4m3", &kFp8, &kFp8},
    {"int8_per_token_head", &kInt8, &kInt8},
    {"int4_per_token_head", &kInt4, &kInt4},
    {"turboquant_4bit_nc", &kTurbo4K, &kTurbo4V},
    {"turboquant_3bit_nc", &kTurbo3K, &kTurbo3V},
    {"turboquant_k3v4_nc", &kTurbo3K, &kTurbo4V},
    {"turboquant_k8v4", &kFp8Token, &kTurbo4V},
};
constexpr size_t kOwnNames = 11;

}  // namespace

KvFormats::KvFormats(DType element) : k(nullptr), v(nullptr) {
  for (const Name& row : kNames)
    if (row.k->element == element && !k) k = row.k, v = row.v;
  NIBBLE_CHECK(k && element != DType::kNone, "no cache of {}", DTypeName(element));
}

KvFormats StaticNvfp4Kv() { return {&kStaticNvfp4, &kStaticNvfp4}; }
KvFormats StaticInt8Kv() { return {&kStaticInt8, &kStaticInt8}; }

Result<KvRule> KvRule::ForHeads(int64_t first, int64_t count, int64_t heads, int64_t width) const {
  const auto size = [](const std::vector<float>& values) { return static_cast<int64_t>(values.size()); };
  if (size(scale) != 1 && size(scale) != heads) return Corrupt("{} scales for {} key/value heads", scale.size(), heads);
  const bool by_element = size(bias) == heads * width;
  if (!bias.empty() && size(bias) != 1 && size(bias) != heads && !by_element)
    return Corrupt("a bias of {} elements for {} key/value heads of {}", bias.size(), heads, width);
  KvRule cut;
  cut.scale.clear();
  for (int64_t head = first; head < first + count; ++head) {
    cut.scale.push_back(scale_of(head));
    for (int64_t i = 0; i < width && !bias.empty(); ++i)
      cut.bias.push_back(bias[static_cast<size_t>(by_element ? head * width + i : size(bias) == 1 ? 0 : head)]);
  }
  return cut;
}

std::string KvFormats::name() const { return k->name == v->name ? std::string(k->name) : fmt::format("{} / {}", k->name, v->name); }

std::span<const std::string_view> KvFormatNames() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    for (size_t i = 0; i < kOwnNames; ++i) all.push_back(kNames[i].name);
    return all;
  }();
  return names;
}

Result<KvFormats> ParseKvFormats(std::string_view name) {
  for (const Name& row : kNames)
    if (row.name == name) return KvFormats(row.k, row.v);
  const auto known = KvFormatNames();
  return Usage("K/V cache type \"{}\" is unknown; nearest: {}", name, NearestNames(name, {known.begin(), known.end()}));
}

int64_t KvRowBytes(const KvFormat& format, int64_t width) {
  if (format.element == DType::kNone) return format.row_bytes(width);
  return RoundUp(width, 16) * DTypeBytes(format.element) + (format.row_scale ? 4 : 0);
}

void DecodeKvRow(const KvFormat& format, const std::byte* row, int64_t width, float scale, const float* bias, float* out) {
  std::fill(out + width, out + RoundUp(width, 16), 0.0f);
  if (format.decode)
    format.decode(row, width, out);
  else
    ConvertToF32(format.element, row, width, out);
  if (format.scaled_by_rule())
    for (int64_t i = 0; i < width; ++i) out[i] *= scale;
  if (format.adds_bias && bias)
    for (int64_t i = 0; i < width; ++i) out[i] += bias[i];
}

}  // namespace nibble
