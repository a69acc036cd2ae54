// SPDX-License-Identifier: Apache-2.0
// The table of number formats: one folder under formats/ each, found by the build. A format says how a code becomes a number; for
// ggml's opaque blocks it also says how many bytes they take and how a kernel can see one as codes and scales.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace nibble {

// How one ggml block looks to a kernel that wants plain codes: `split` unpacks it without rounding anything, and for element i,
// with s = i / sub_elems,
//   value = d * sub[s] * (has_min ? codes[i] : table ? unit * table[codes[i]] : codes[i] - zero) - (has_min ? dmin * sub_min[s] :
//   0)
// in f32, every product exact (checked by the format's test), so that fused and unfused evaluation agree bit for bit.
struct BlockSplit {
  int bits = 0;       // 0 <= codes[i] < 2^bits
  int sub_elems = 0;  // elements that share sub[s] and sub_min[s]
  int zero = 0;
  bool has_sub = false;  // false: sub[s] == 1 and is not stored
  bool has_min = false;
  bool has_sub_min = false;       // false: sub_min[s] == 1
  int sub_bits = 8;               // less than 8: 0 <= sub[s], sub_min[s] < 2^sub_bits
  const int8_t* table = nullptr;  // 2^bits values, or none
  float unit = 1;                 // a power of two
  // d and dmin are f16 bits as stored. codes [block_elems]; sub, sub_min [block_elems / sub_elems].
  void (*split)(const std::byte* block, uint8_t* codes, uint16_t* d, uint16_t* dmin, int8_t* sub, uint8_t* sub_min) = nullptr;
  // Instead of `split` where a scale is no f16 times small integer (powers of two, e4m3, f32, a scale in the head of the row
  // `row`):
  //   value = scale[s] * (table ? unit * table[codes[i]] : codes[i] - zero)        scale [block_elems / sub_elems]
  void (*split_scales)(const std::byte* row, const std::byte* block, uint8_t* codes, float* scale) = nullptr;
};

struct Format {
  std::string_view name;     // "int_group", "q4_k"; unique
  std::string_view summary;  // one line for `nibble methods`
  int ggml_type = -1;        // type id in GGUF files, -1 for others
  int block_elems = 1;       // ggml: elements per block; row length must be a multiple
  int block_bytes = 0;       // ggml: bytes per block; 0 for formats that are not opaque blocks
  int row_meta_bytes = 0;    // ggml: bytes before the first block of every row
  // ggml: decodes blocks [first, first + count) of the row that starts at `row` to out [count * block_elems]. Exact to the bit.
  void (*decode)(const std::byte* row, int64_t first, int64_t count, float* out) = nullptr;
  // ggml: encodes k elements (k a multiple of block_elems) to `row`. Null: nibble does not make this format (yet).
  void (*encode)(const float* in, int64_t k, std::byte* row) = nullptr;
  const BlockSplit* split = nullptr;

  bool is_blocked() const { return block_bytes > 0; }
  // Bytes of a row of k elements (k a multiple of block_elems).
  int64_t row_bytes(int64_t k) const { return row_meta_bytes + k / block_elems * block_bytes; }
};
using FormatId = const Format*;

// All formats, built-in order. The names "dense", "int_group", "fp8", "table" always exist.
std::span<const FormatId> Formats();
// nullptr if unknown.
FormatId FindFormat(std::string_view name);
FormatId FindGgmlFormat(int64_t ggml_type);

}  // namespace nibble
