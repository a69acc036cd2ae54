// SPDX-License-Identifier: Apache-2.0
// How the row of one head at one position is stored: elements that attention reads as they are, or rows that are encoded when
// written and decoded to f32 when read. K and V may differ.
//
//   f32 f16 bf16            elements
//   fp8 (fp8_e4m3)          e4m3 of x / scale; one scale for the layer, the checkpoint's or 1
//   fp8_e5m2                e5m2 of x, no scale
//   fp8_per_token_head      f32 scale = max(amax / 448, 1e-6); e4m3 of x / scale
//   int8                    f32 scale = max(amax / 127, 1e-6); codes of x / scale, halves away from zero
//   int4                    rotated; f32 scale = max((max - min) / 15, 1e-6) with the zero point in its 4 lowest bits; codes of
//                           x / scale + zero, halves away from zero, low nibble first
//   nvfp4                   f32 global = amax / (6 * 448); e4m3 scales for 16; e2m1 codes. K rotated
//   turbo4 turbo3           keys: f16 norm, indices of Lloyd-Max centroids of the rotated unit vector (norm corrected); values: f16
//                           scale, f16 minimum, uniform codes
//
// Rotation: x' = x H / sqrt(b) by blocks of b, the largest power of two that divides the width; undone on reading, so that queries
// and outputs stay as they are. It spreads the few large channels of keys over all codes.
//
// Static caches are those whose scales a checkpoint brings (KvRule); users cannot name them, since they are nothing without it:
//   fp8                     as above
//   static nvfp4            nvfp4 with global = scale / 6, not rotated; scale is amax / 448, as ModelOpt stores it. ModelOpt's tool
//                           measures amax of x - bias where it stores a bias, but quantizes x; so does this
//   static int8             codes of (x - bias) / scale, halves to even
// Source: vLLM's cache dtypes int8_per_token_head, int4_per_token_head (theirs has random signs too), nvfp4 and turboquant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensors/dtype.h"

namespace nibble {

inline constexpr int64_t kMaxEncodedKvWidth = 1024;  // elements of a head in encoded rows; PagedCache::Make refuses more

struct KvFormat {
  std::string_view name;
  DType element = DType::kNone;  // what attention reads; kNone: rows are encoded
  bool row_scale = false;        // each row's elements are codes times an f32 of its own
  int bits = 16;                 // of one element, scales not counted
  bool keeps_ends = false;       // the first and the last positions of a sequence are read from bf16 copies
  bool adds_bias = false;        // what is stored is x - KvRule's bias
  // Elements are multiplied by KvRule's scale when they are read.
  bool scaled_by_rule() const { return element == DType::kE4M3 && !row_scale; }
  // Null for f32, f16, bf16 and e4m3. width: elements of the head; scale: KvRule's; out [width]. A row is of KvRowBytes bytes, with
  // row_scale the f32 and then the codes. Thread-safe, allocate nothing. row_bytes: where there is no element.
  int64_t (*row_bytes)(int64_t width) = nullptr;
  void (*encode)(const float* x, int64_t width, float scale, std::byte* row) = nullptr;
  void (*decode)(const std::byte* row, int64_t width, float* out) = nullptr;
};

// K's and V's.
struct KvFormats {
  const KvFormat* k;
  const KvFormat* v;
  KvFormats(DType element);  // f32, f16, bf16, e4m3; implicit: a cache of plain elements is named by their type
  KvFormats(const KvFormat* of_k, const KvFormat* of_v) : k(of_k), v(of_v) {}
  // Attention reads both as they lie: one type of element. Otherwise rows are decoded first.
  bool direct() const { return k->element == v->element && k->row_scale == v->row_scale && k->element != DType::kNone; }
  bool keeps_ends() const { return k->keeps_ends || v->keeps_ends; }
  std::string name() const;  // "bf16", "int8", "turbo3 / bf16"
  friend bool operator==(const KvFormats& a, const KvFormats& b) { return a.k == b.k && a.v == b.v; }
};

// What a checkpoint says of the K or the V of a layer.
struct KvRule {
  std::vector<float> scale = {1};  // [1] or [heads]
  std::vector<float> bias;         // [], [1], [heads] or [heads * width]
  // [width], or null; after ForHeads.
  const float* bias_of(int64_t head, int64_t width) const { return bias.empty() ? nullptr : bias.data() + head * width; }
  float scale_of(int64_t head) const { return scale.size() == 1 ? scale[0] : scale[static_cast<size_t>(head)]; }
  // Heads [first, first + count) of `heads`, bias empty or [count * width]. Corrupt if the sizes above do not hold.
  Result<KvRule> ForHeads(int64_t first, int64_t count, int64_t heads, int64_t width) const;
};
struct KvRules {
  KvRule k, v;
};

KvFormats StaticNvfp4Kv();
KvFormats StaticInt8Kv();

// What users may write; aliases (fp8_e4m3, int8_per_token_head, turboquant_k8v4 ...) are read too.
std::span<const std::string_view> KvFormatNames();
// One name for both. Usage error with the nearest names.
Result<KvFormats> ParseKvFormats(std::string_view name);

// Bytes of a row, `width` elements of a head in strides of 16 elements for plain formats.
int64_t KvRowBytes(const KvFormat& format, int64_t width);
// Any format: a stored row to f32, out [width rounded up to 16], zero padded. scale: of e4m3 elements; bias [width], or null.
void DecodeKvRow(const KvFormat& format, const std::byte* row, int64_t width, float scale, const float* bias, float* out);

}  // namespace nibble
