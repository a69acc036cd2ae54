// SPDX-License-Identifier: Apache-2.0
#include "quantizers/scheme.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace nibble {
namespace {

constexpr WeightScheme Ints(int bits, bool symmetric = true) {
  return {.grain = WeightScheme::kGroup, .bits = bits, .symmetric = symmetric};
}
constexpr WeightScheme kInt8Rows = {.grain = WeightScheme::kChannel, .bits = 8};
constexpr WeightScheme kFp8Rows = {.grain = WeightScheme::kChannel, .bits = 8, .is_float = true};
constexpr WeightScheme kFp8Blocks = {.grain = WeightScheme::kBlock, .bits = 8, .is_float = true, .block_n = 128, .block_k = 128};

// Dynamic activations by the compressed-tensors library's rule.
constexpr ActivationSpec Dynamic(ActivationSpec::Grain grain, DType code, int group = 0) {
  return {.grain = grain, .code = code, .group = group, .rule = ActivationSpec::kCompressedTensors};
}
constexpr ActivationSpec kInt8Tokens = Dynamic(ActivationSpec::kToken, DType::kI8);
constexpr ActivationSpec kFp8Tokens = Dynamic(ActivationSpec::kToken, DType::kE4M3);
constexpr ActivationSpec kFp8Groups = Dynamic(ActivationSpec::kGroup, DType::kE4M3, 128);

struct Row {
  std::string_view name, alias;
  WeightScheme weights;
  ActivationSpec act;
};
const Row kSchemes[] = {
    {"W4A16", "", Ints(4), {}},
    {"W4A16_ASYM", "", Ints(4, false), {}},
    {"W8A16", "", Ints(8), {}},
    {"W8A8", "INT8", kInt8Rows, kInt8Tokens},
    {"FP8_DYNAMIC", "", kFp8Rows, kFp8Tokens},
    {"FP8_BLOCK", "", kFp8Blocks, kFp8Groups},
    {"W2A16", "", Ints(2), {}},
    {"W2A16_ASYM", "", Ints(2, false), {}},
    {"W3A16", "", Ints(3), {}},
    {"W3A16_ASYM", "", Ints(3, false), {}},
    {"W5A16", "", Ints(5), {}},
    {"W6A16", "", Ints(6), {}},
    {"W7A16", "", Ints(7), {}},
    {"W8A16_ASYM", "", Ints(8, false), {}},
    {"W4A8", "", Ints(4), kInt8Tokens},
    {"W4AFP8", "", Ints(4), kFp8Tokens},
};

struct Refused {
  std::string_view name, reason;
};
constexpr Refused kRefused[] = {
    {"FP8",
     "its activation scales are static and need calibration, which is not available yet; FP8_DYNAMIC stores the same weights "
     "without it"},
    {"W4A4", "4-bit activations are not available yet"},
    {"NVFP4", "4-bit floats are not made yet"},
    {"NVFP4A16", "4-bit floats are not made yet"},
    {"MXFP4", "4-bit floats are not made yet"},
    {"MXFP4A16", "4-bit floats are not made yet"},
    {"MXFP8", "power-of-two block scales are not made yet"},
    {"MXFP8A16", "power-of-two block scales are not made yet"},
};

std::string Upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::replace(out.begin(), out.end(), '-', '_');
  return out;
}

}  // namespace

std::string SchemeNames() {
  std::string names;
  for (const Row& row : kSchemes) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  return names;
}

Result<Scheme> ParseScheme(std::string_view name) {
  const std::string wanted = Upper(name);
  for (const Row& row : kSchemes)
    if (wanted == row.name || (!row.alias.empty() && wanted == row.alias))
      return Scheme{std::string(row.name), row.weights, row.act};
  for (const Refused& row : kRefused)
    if (wanted == row.name) return Unsupported("scheme {}: {}; available: {}", row.name, row.reason, SchemeNames());
  return Usage("scheme \"{}\" is unknown; available: {}", name, SchemeNames());
}

Status SetGroupSize(int64_t group, Scheme* scheme) {
  WeightScheme& weights = scheme->weights;
  if (weights.is_float)
    return Usage("scheme {}: its scales are {}; a group size applies to integer weights", scheme->name,
                 weights.grain == WeightScheme::kBlock ? "for blocks of 128x128" : "one a row");
  if (group != -1 && group < 1) return Usage("group size {}: wanted a positive number, or -1 for one scale a row", group);
  if (scheme->act.code == DType::kI8 && weights.bits == 8 && group != -1)
    return Usage(
        "scheme {}: the products of 8-bit codes are summed over whole rows, so its scales are one a row; for groups take W8A16",
        scheme->name);
  weights.grain = group == -1 ? WeightScheme::kChannel : WeightScheme::kGroup;
  weights.group = group == -1 ? 0 : group;
  return {};
}

std::string DescribeScheme(const Scheme& scheme) {
  const WeightScheme& w = scheme.weights;
  std::string text = w.is_float ? "e4m3" : fmt::format("int{}", w.bits);
  if (w.grain == WeightScheme::kChannel)
    text += " a scale a row";
  else if (w.grain == WeightScheme::kGroup)
    text += fmt::format(" g{}", w.group);
  else
    text += fmt::format(" {}x{}", w.block_n, w.block_k);
  if (!w.symmetric) text += " asymmetric";
  if (scheme.act.grain == ActivationSpec::kNone) return text + ", activations as they are";
  return text + fmt::format(", activations {} {}", scheme.act.code == DType::kI8 ? "int8" : "e4m3",
                            scheme.act.grain == ActivationSpec::kToken ? "a scale a token" : "g128");
}

}  // namespace nibble
