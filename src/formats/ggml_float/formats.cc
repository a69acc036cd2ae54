// SPDX-License-Identifier: Apache-2.0
// f32, f16, bf16 as ggml tensor types: blocks of one element, so that code written for block types also takes plain ones.
#include "formats/ggml_block.h"

namespace nibble {
namespace {

template <DType kType>
void DecodeFloats(const std::byte* row, int64_t first, int64_t count, float* out) {
  ConvertToF32(kType, row + first * DTypeBytes(kType), count, out);
}
template <DType kType>
void EncodeFloats(const float* in, int64_t k, std::byte* row) {
  ConvertFromF32(kType, in, k, row);
}

constexpr Format kGgmlFloatFormats[] = {
    {"ggml_f32", "ggml: f32, not quantized", 0, 1, 4, 0, DecodeFloats<DType::kF32>, EncodeFloats<DType::kF32>, nullptr},
    {"ggml_f16", "ggml: f16, not quantized", 1, 1, 2, 0, DecodeFloats<DType::kF16>, EncodeFloats<DType::kF16>, nullptr},
    {"ggml_bf16", "ggml: bf16, not quantized", 30, 1, 2, 0, DecodeFloats<DType::kBF16>, EncodeFloats<DType::kBF16>, nullptr},
};

}  // namespace

std::span<const Format> ggml_float_formats() { return kGgmlFloatFormats; }

}  // namespace nibble
