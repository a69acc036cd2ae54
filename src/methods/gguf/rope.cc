// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/rope.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "tensors/scalar.h"

namespace nibble {
namespace {

// The frequency divisors of Llama 3.1: 1 for short waves, `factor` for long ones, between them a mix.
float Llama3Divisor(int64_t i, int64_t rotated, double theta, double factor, double low, double high, double original) {
  const double wavelength = 2 * std::numbers::pi * std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(rotated));
  if (wavelength < original / high) return 1;
  if (wavelength > original / low) return static_cast<float>(factor);
  const double smooth = (original / wavelength - low) / (high - low);
  return static_cast<float>(1 / ((1 - smooth) / factor + smooth));
}

Result<Json> Divisors(const StoredTensor& tensor, int64_t rotated) {
  if (rotated < 2 || tensor.view.dtype != DType::kF32 || tensor.shape != Shape({rotated / 2}))
    return Corrupt("{}: tensor \"{}\": {} {}, wanted f32 [{}]", tensor.file, tensor.name, tensor.stored_type,
                   tensor.shape.ToString(), rotated / 2);
  Json list = Json::array();
  for (int64_t i = 0; i < rotated / 2; ++i) {
    const double divisor = LoadScalar(DType::kF32, tensor.view.data, i);
    if (!(divisor > 0) || !std::isfinite(divisor))
      return Corrupt("{}: tensor \"{}\": element {} is {}, wanted positive numbers", tensor.file, tensor.name, i, divisor);
    list.push_back(divisor);
  }
  return list;
}

// Proportional rope: the first pairs of a head turn, divided by one factor (which a writer may have computed from rounded
// frequencies), the others do not, for which the file has a divisor that stops them. Null where the divisors are others.
Json Proportional(const Json& divisors, int64_t rotated) {
  constexpr double kStops = 1e20;
  const double factor = divisors.front().get<double>();
  size_t turning = 0;
  while (turning < divisors.size() && std::fabs(divisors[turning].get<double>() - factor) <= 1e-6 * factor) ++turning;
  if (turning == divisors.size() || factor >= kStops) return nullptr;
  for (size_t i = turning; i < divisors.size(); ++i)
    if (divisors[i].get<double>() < kStops) return nullptr;
  Json rope = {{"rope_type", "proportional"}, {"partial_rotary_factor", PartOf(2 * static_cast<int64_t>(turning), rotated)}};
  if (factor != 1) rope["factor"] = factor;
  return rope;
}

// rope_freqs.weight holds those divisors, the hub's config the rule: proportional or llama3 where it fits, else LongRoPE's with
// these divisors at every length.
Result<Json> FixedDivisors(const GgufReader& reader, const StoredTensor& tensor, int64_t rotated, double theta, int64_t context,
                           bool whole_head) {
  NIBBLE_TRY(Json divisors, Divisors(tensor, rotated));
  if (Json rope = whole_head ? Proportional(divisors, rotated) : nullptr; !rope.is_null()) return rope;
  const double factor = divisors.back().get<double>();  // the longest wave
  NIBBLE_TRY(const int64_t said, reader.Int("rope.scaling.original_context_length", 8192));
  constexpr double kLow = 1, kHigh = 4;
  for (const int64_t original : {said, int64_t{8192}}) {
    bool same = true;
    for (int64_t i = 0; i < rotated / 2; ++i) {
      const double wanted = Llama3Divisor(i, rotated, theta, factor, kLow, kHigh, static_cast<double>(original));
      same &= std::fabs(divisors[static_cast<size_t>(i)].get<double>() - wanted) <= 1e-3 * std::fabs(wanted);
    }
    if (same)
      return Json{{"rope_type", "llama3"},
                  {"factor", factor},
                  {"low_freq_factor", kLow},
                  {"high_freq_factor", kHigh},
                  {"original_max_position_embeddings", original}};
  }
  return Json{{"rope_type", "longrope"},
              {"long_factor", divisors},
              {"short_factor", divisors},
              {"attention_factor", 1.0},
              {"original_max_position_embeddings", context}};
}

// rope_factors_{long,short}.weight: LongRoPE's divisors, and the length from which the long ones hold.
Result<Json> LongRope(const GgufReader& reader, const StoredTensor& longs, int64_t rotated, int64_t context) {
  NIBBLE_TRY(const int64_t original, reader.Int("rope.scaling.original_context_length", context));
  Json rope = {{"rope_type", "longrope"}, {"original_max_position_embeddings", original}};
  const StoredTensor* shorts = reader.file().tensors.Find("rope_factors_short.weight");
  for (const auto& [tensor, hub] : {std::pair(&longs, "long_factor"), std::pair(shorts, "short_factor")}) {
    if (!tensor) return Corrupt("{}: rope_factors_long.weight is there and rope_factors_short.weight is not", reader.path());
    NIBBLE_TRY(rope[hub], Divisors(*tensor, rotated));
  }
  NIBBLE_TRY(const double attention, reader.Number("rope.scaling.attn_factor", 0.0));
  if (attention > 0) rope["attention_factor"] = attention;
  return rope;
}

Result<Json> Scaled(const GgufReader& reader, const std::string& type, int64_t context) {
  NIBBLE_TRY(const double factor, reader.Number("rope.scaling.factor", 1.0));
  if (factor == 1.0 && type != "yarn") return Json{{"rope_type", "default"}};
  Json rope = {{"rope_type", type}, {"factor", factor}};
  if (type != "yarn") return rope;
  NIBBLE_TRY(const int64_t original, reader.Int("rope.scaling.original_context_length", context));
  rope["original_max_position_embeddings"] = original;
  for (const auto& [key, hub] :
       {std::pair("rope.scaling.yarn_beta_fast", "beta_fast"), std::pair("rope.scaling.yarn_beta_slow", "beta_slow")}) {
    NIBBLE_TRY(const double beta, reader.Number(key, 0.0));
    if (beta > 0) rope[hub] = beta;
  }
  NIBBLE_TRY(const double attention, reader.Number("rope.scaling.yarn_attn_factor", 0.0));
  if (attention > 0) rope["attention_factor"] = attention;
  return rope;
}

}  // namespace

Result<Json> GgufRopeParameters(const GgufReader& reader, int64_t head_dim, int64_t context) {
  NIBBLE_TRY(const double theta, reader.Number("rope.freq_base", 10000.0));
  NIBBLE_TRY(const int64_t rotated, reader.Positive("rope.dimension_count", head_dim));
  NIBBLE_TRY(const std::string type, reader.file().metadata.String(reader.Key("rope.scaling.type"), "none"));
  Json rope = {{"rope_type", "default"}};
  if (const StoredTensor* divisors = reader.file().tensors.Find("rope_freqs.weight")) {
    NIBBLE_TRY(rope, FixedDivisors(reader, *divisors, rotated, theta, context, rotated == head_dim));
  } else if (const StoredTensor* longs = reader.file().tensors.Find("rope_factors_long.weight")) {
    NIBBLE_TRY(rope, LongRope(reader, *longs, rotated, context));
  } else if (type == "linear" || type == "yarn") {
    NIBBLE_TRY(rope, Scaled(reader, type, context));
  } else if (type != "none") {
    return Unsupported("{}: key \"{}\": \"{}\" is not supported for this architecture; supported: none, linear, yarn",
                       reader.path(), reader.Key("rope.scaling.type"), type);
  }
  rope["rope_theta"] = theta;
  if (!rope.contains("partial_rotary_factor")) rope["partial_rotary_factor"] = PartOf(rotated, head_dim);
  return rope;
}

double PartOf(int64_t part, int64_t whole) {
  const double quotient = static_cast<double>(part) / static_cast<double>(whole);
  const bool short_of = static_cast<int64_t>(quotient * static_cast<double>(whole)) < part;
  return short_of ? std::nextafter(quotient, 1.0) : quotient;
}

}  // namespace nibble
