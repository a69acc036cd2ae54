// SPDX-License-Identifier: Apache-2.0
#include "tensors/dtype.h"

#include <cctype>
#include <string>

namespace nibble {
namespace {

struct Entry {
  DType dtype;
  int bytes;
  const char* name;
  const char* torch;
  const char* safetensors;
};
constexpr Entry kEntries[] = {
    {DType::kNone, 0, "none", "", ""},
    {DType::kF64, 8, "f64", "float64", "F64"},
    {DType::kF32, 4, "f32", "float32", "F32"},
    {DType::kF16, 2, "f16", "float16", "F16"},
    {DType::kBF16, 2, "bf16", "bfloat16", "BF16"},
    {DType::kE4M3, 1, "e4m3", "float8_e4m3fn", "F8_E4M3"},
    {DType::kE5M2, 1, "e5m2", "float8_e5m2", "F8_E5M2"},
    {DType::kE3M2, 1, "e3m2", "float6_e3m2fn", "F6_E3M2"},
    {DType::kE2M3, 1, "e2m3", "float6_e2m3fn", "F6_E2M3"},
    {DType::kE2M1, 1, "e2m1", "float4_e2m1fn", "F4_E2M1"},
    {DType::kE8M0, 1, "e8m0", "float8_e8m0fnu", "F8_E8M0"},
    {DType::kI8, 1, "i8", "int8", "I8"},
    {DType::kU8, 1, "u8", "uint8", "U8"},
    {DType::kI16, 2, "i16", "int16", "I16"},
    {DType::kU16, 2, "u16", "uint16", "U16"},
    {DType::kI32, 4, "i32", "int32", "I32"},
    {DType::kU32, 4, "u32", "uint32", "U32"},
    {DType::kI64, 8, "i64", "int64", "I64"},
    {DType::kU64, 8, "u64", "uint64", "U64"},
    {DType::kBool, 1, "bool", "bool", "BOOL"},
};

const Entry& Find(DType dtype) { return kEntries[static_cast<int>(dtype)]; }

}  // namespace

int DTypeBytes(DType dtype) { return Find(dtype).bytes; }
const char* DTypeName(DType dtype) { return Find(dtype).name; }

std::optional<DType> ParseDType(std::string_view name) {
  if (name.substr(0, 6) == "torch.") name.remove_prefix(6);
  for (const Entry& entry : kEntries)
    if (entry.dtype != DType::kNone && (name == entry.name || name == entry.torch || name == entry.safetensors)) return entry.dtype;
  return std::nullopt;
}

bool IsFloat(DType dtype) { return dtype >= DType::kF64 && dtype <= DType::kE8M0; }

}  // namespace nibble
