// SPDX-License-Identifier: Apache-2.0
// Scalar types of stored tensors. Sub-byte codes (int4, e2m1, ...) are no tensor dtype: they live inside packed u8/i32 tensors and
// are named by formats; the 4- and 6-bit floats appear here because a code's value rule names them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace nibble {

enum class DType : uint8_t {
  kNone,
  kF64,
  kF32,
  kF16,
  kBF16,
  kE4M3,
  kE5M2,
  kE3M2,
  kE2M3,
  kE2M1,
  kE8M0,  // OCP names: e4m3 is "fn" (no infinity), one byte each when stored unpacked
  kI8,
  kU8,
  kI16,
  kU16,
  kI32,
  kU32,
  kI64,
  kU64,
  kBool,
};

// Bytes of one element in a tensor of this dtype (1 for the small floats).
int DTypeBytes(DType dtype);
// "f32", "bf16", "e4m3", ...
const char* DTypeName(DType dtype);
// From DTypeName's spelling, torch's ("bfloat16", "float8_e4m3fn") or safetensors' ("BF16", "F8_E4M3"); nullopt if unknown.
std::optional<DType> ParseDType(std::string_view name);
bool IsFloat(DType dtype);

}  // namespace nibble
