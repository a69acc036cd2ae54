// SPDX-License-Identifier: Apache-2.0
// Typed access to GGUF metadata, and the table of tensor types.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "io/gguf.h"

namespace nibble {
namespace {

constexpr const char* kTypeNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                      "bool", "string", "array", "u64", "i64", "f64"};
constexpr int kTypeBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// Types with a folder under formats/ are here for their names; a test holds both tables together.
constexpr GgufTensorType kTensorTypes[] = {
    {0, "F32", 1, 4, DType::kF32},
    {1, "F16", 1, 2, DType::kF16},
    {2, "Q4_0", 32, 18, DType::kNone},
    {3, "Q4_1", 32, 20, DType::kNone},
    {6, "Q5_0", 32, 22, DType::kNone},
    {7, "Q5_1", 32, 24, DType::kNone},
    {8, "Q8_0", 32, 34, DType::kNone},
    {9, "Q8_1", 32, 36, DType::kNone},
    {10, "Q2_K", 256, 84, DType::kNone},
    {11, "Q3_K", 256, 110, DType::kNone},
    {12, "Q4_K", 256, 144, DType::kNone},
    {13, "Q5_K", 256, 176, DType::kNone},
    {14, "Q6_K", 256, 210, DType::kNone},
    {15, "Q8_K", 256, 292, DType::kNone},
    {16, "IQ2_XXS", 256, 66, DType::kNone},
    {17, "IQ2_XS", 256, 74, DType::kNone},
    {18, "IQ3_XXS", 256, 98, DType::kNone},
    {19, "IQ1_S", 256, 50, DType::kNone},
    {20, "IQ4_NL", 32, 18, DType::kNone},
    {21, "IQ3_S", 256, 110, DType::kNone},
    {22, "IQ2_S", 256, 82, DType::kNone},
    {23, "IQ4_XS", 256, 136, DType::kNone},
    {24, "I8", 1, 1, DType::kI8},
    {25, "I16", 1, 2, DType::kI16},
    {26, "I32", 1, 4, DType::kI32},
    {27, "I64", 1, 8, DType::kI64},
    {28, "F64", 1, 8, DType::kF64},
    {29, "IQ1_M", 256, 56, DType::kNone},
    {30, "BF16", 1, 2, DType::kBF16},
    {34, "TQ1_0", 256, 54, DType::kNone},
    {35, "TQ2_0", 256, 66, DType::kNone},
    {39, "MXFP4", 32, 17, DType::kNone},
    {40, "NVFP4", 64, 36, DType::kNone},
    {41, "Q1_0", 128, 18, DType::kNone},
    {42, "Q2_0", 64, 18, DType::kNone},
    // ik_llama.cpp: every row begins with its f32 scale.
    {153, "IQ2_KT", 256, 68, DType::kNone, 4},
    {154, "IQ3_KT", 256, 100, DType::kNone, 4},
    {155, "IQ4_KT", 256, 128, DType::kNone, 4},
    {158, "IQ1_KT", 256, 56, DType::kNone, 4},
};

template <typename T>
T ElementAt(const GgufArray& array, int64_t i) {
  T value;
  std::memcpy(&value, array.bytes.data() + static_cast<size_t>(i) * sizeof(T), sizeof(T));
  return value;
}

// Calls f(static_cast<C type>(element)) for every element of a numeric array.
template <typename F>
void ForEachNumber(const GgufArray& array, F&& f) {
  const auto run = [&]<typename T>(T) {
    for (int64_t i = 0; i < array.count; ++i) f(ElementAt<T>(array, i));
  };
  switch (array.type) {
    case GgufType::kU8: return run(uint8_t{});
    case GgufType::kI8: return run(int8_t{});
    case GgufType::kU16: return run(uint16_t{});
    case GgufType::kI16: return run(int16_t{});
    case GgufType::kU32: return run(uint32_t{});
    case GgufType::kI32: return run(int32_t{});
    case GgufType::kU64: return run(uint64_t{});
    case GgufType::kI64: return run(int64_t{});
    case GgufType::kF32: return run(float{});
    case GgufType::kF64: return run(double{});
    case GgufType::kBool:
      for (int64_t i = 0; i < array.count; ++i) f(uint8_t{array.bytes[static_cast<size_t>(i)] != std::byte{0}});
      return;
    case GgufType::kString:
    case GgufType::kArray: return;
  }
}

bool IsFloatType(GgufType type) { return type == GgufType::kF32 || type == GgufType::kF64; }

}  // namespace

const char* GgufTypeName(GgufType type) { return kTypeNames[static_cast<size_t>(type)]; }
int GgufTypeBytes(GgufType type) { return kTypeBytes[static_cast<size_t>(type)]; }

const GgufTensorType* FindGgufTensorType(int64_t id) {
  const auto* it = std::lower_bound(std::begin(kTensorTypes), std::end(kTensorTypes), id,
                                    [](const GgufTensorType& type, int64_t wanted) { return type.id < wanted; });
  return it != std::end(kTensorTypes) && it->id == id ? it : nullptr;
}

Result<GgufMetadata> GgufMetadata::Make(std::vector<Entry> entries, std::string where) {
  GgufMetadata metadata;
  metadata.entries_ = std::move(entries);
  metadata.where_ = std::move(where);
  metadata.by_key_.resize(metadata.entries_.size());
  std::iota(metadata.by_key_.begin(), metadata.by_key_.end(), 0u);
  const auto& all = metadata.entries_;
  std::sort(metadata.by_key_.begin(), metadata.by_key_.end(), [&](uint32_t a, uint32_t b) { return all[a].key < all[b].key; });
  for (size_t i = 0; i < metadata.by_key_.size(); ++i) {
    const std::string_view key = all[metadata.by_key_[i]].key;
    if (key.empty()) return Corrupt("{}: key {} is empty", metadata.where_, metadata.by_key_[i]);
    if (i > 0 && key == all[metadata.by_key_[i - 1]].key) return Corrupt("{}: key \"{}\" occurs twice", metadata.where_, key);
  }
  return metadata;
}

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto it = std::lower_bound(by_key_.begin(), by_key_.end(), key,
                                   [&](uint32_t i, std::string_view wanted) { return entries_[i].key < wanted; });
  return it == by_key_.end() || entries_[*it].key != key ? nullptr : &entries_[*it].value;
}

tl::unexpected<Error> GgufMetadata::WrongType(std::string_view key, const GgufValue& found, const char* wanted) const {
  const auto* array = std::get_if<GgufArray>(&found.value);
  return Corrupt("{}: key \"{}\": found {}, wanted {}", where_, key,
                 array ? fmt::format("an array of {} {}", array->count, GgufTypeName(array->type)) : GgufTypeName(found.type),
                 wanted);
}
tl::unexpected<Error> GgufMetadata::Missing(std::string_view key, const char* wanted) const {
  return NotFound("{}: key \"{}\" is missing (wanted {})", where_, key, wanted);
}

Result<int64_t> GgufMetadata::Int(std::string_view key, std::optional<int64_t> fallback) const {
  const GgufValue* found = Find(key);
  if (!found) return fallback ? Result<int64_t>(*fallback) : Missing(key, "an integer");
  if (const auto* value = std::get_if<int64_t>(&found->value)) return *value;
  if (const auto* value = std::get_if<uint64_t>(&found->value); value && *value <= static_cast<uint64_t>(INT64_MAX))
    return static_cast<int64_t>(*value);
  return WrongType(key, *found, "an integer below 2^63");
}

Result<double> GgufMetadata::Number(std::string_view key, std::optional<double> fallback) const {
  const GgufValue* found = Find(key);
  if (!found) return fallback ? Result<double>(*fallback) : Missing(key, "a number");
  if (const auto* value = std::get_if<double>(&found->value)) return *value;
  if (const auto* value = std::get_if<int64_t>(&found->value)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<uint64_t>(&found->value)) return static_cast<double>(*value);
  return WrongType(key, *found, "a number");
}

Result<bool> GgufMetadata::Bool(std::string_view key, std::optional<bool> fallback) const {
  const GgufValue* found = Find(key);
  if (!found) return fallback ? Result<bool>(*fallback) : Missing(key, "a bool");
  if (const auto* value = std::get_if<bool>(&found->value)) return *value;
  return WrongType(key, *found, "a bool");
}

Result<std::string> GgufMetadata::String(std::string_view key, std::optional<std::string> fallback) const {
  const GgufValue* found = Find(key);
  if (!found) return fallback ? Result<std::string>(*std::move(fallback)) : Missing(key, "a string");
  if (const auto* value = std::get_if<std::string_view>(&found->value)) return std::string(*value);
  return WrongType(key, *found, "a string");
}

Result<std::vector<int64_t>> GgufMetadata::Ints(std::string_view key) const {
  const GgufValue* found = Find(key);
  if (!found) return std::vector<int64_t>();
  const auto* array = std::get_if<GgufArray>(&found->value);
  if (!array) {
    if (const auto* value = std::get_if<bool>(&found->value)) return std::vector<int64_t>{*value};
    NIBBLE_TRY(const int64_t value, Int(key));
    return std::vector<int64_t>{value};
  }
  if (array->type == GgufType::kString || IsFloatType(array->type)) return WrongType(key, *found, "an array of integers");
  std::vector<int64_t> values;
  values.reserve(static_cast<size_t>(array->count));
  bool fits = true;
  ForEachNumber(*array, [&]<typename T>(T value) {
    if constexpr (std::is_same_v<T, uint64_t>) fits &= value <= static_cast<uint64_t>(INT64_MAX);
    values.push_back(static_cast<int64_t>(value));
  });
  if (!fits) return WrongType(key, *found, "integers below 2^63");
  return values;
}

Result<std::vector<float>> GgufMetadata::Floats(std::string_view key) const {
  const GgufValue* found = Find(key);
  if (!found) return std::vector<float>();
  const auto* array = std::get_if<GgufArray>(&found->value);
  if (!array) {
    NIBBLE_TRY(const double value, Number(key));
    return std::vector<float>{static_cast<float>(value)};
  }
  if (array->type == GgufType::kString || array->type == GgufType::kBool) return WrongType(key, *found, "an array of numbers");
  std::vector<float> values;
  values.reserve(static_cast<size_t>(array->count));
  ForEachNumber(*array, [&](auto value) { values.push_back(static_cast<float>(value)); });
  return values;
}

Result<std::span<const std::string_view>> GgufMetadata::Strings(std::string_view key) const {
  const GgufValue* found = Find(key);
  if (!found) return std::span<const std::string_view>();
  const auto* array = std::get_if<GgufArray>(&found->value);
  if (!array || array->type != GgufType::kString) return WrongType(key, *found, "an array of strings");
  return std::span<const std::string_view>(array->strings);
}

}  // namespace nibble
