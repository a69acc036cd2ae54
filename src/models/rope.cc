// SPDX-License-Identifier: Apache-2.0
// Rotary position frequencies from a config, each rule as its paper and transformers' modeling_rope_utils have it, in f32 like
// there.
#include <algorithm>
#include <cmath>

#include "models/architecture.h"

namespace nibble {
namespace {

struct Params {
  Json json;         // the rope object; may be null
  std::string kind;  // default, linear, ...
  double theta = 10000, partial = 1;
  double turning = 1;  // proportional: the part of a head's pairs that turns; `partial` is then 1
};

// rope_parameters (5.x) or top-level rope_theta and rope_scaling (4.x). rope_scaling, when there, replaces rope_parameters; the
// theta inside the object beats the one at top level.
Result<Params> ReadParams(const ModelConfig& config, const RopeDefaults& defaults) {
  Params p;
  if (const Json* found = JsonFind(config.json, "rope_scaling"))
    p.json = *found;
  else if (const Json* nested = JsonFind(config.json, "rope_parameters"))
    p.json = *nested;
  if (const Json* own = defaults.layer_type.empty() ? nullptr : JsonFind(p.json, defaults.layer_type)) p.json = Json(*own);
  NIBBLE_TRY(const double top_theta, JsonNumber(config.json, "rope_theta", defaults.theta));
  NIBBLE_TRY(p.theta, JsonNumber(p.json, "rope_theta", top_theta));
  NIBBLE_TRY(const double top_partial, JsonNumber(config.json, "partial_rotary_factor", defaults.partial_factor));
  NIBBLE_TRY(p.partial, JsonNumber(p.json, "partial_rotary_factor", top_partial));
  NIBBLE_TRY(const std::string old_kind, JsonString(p.json, "type", "default"));
  NIBBLE_TRY(p.kind, JsonString(p.json, "rope_type", old_kind));
  if (p.kind == "proportional") std::swap(p.turning, p.partial);
  if (!(p.theta > 0)) return Corrupt("rope_theta is {}, wanted a positive number", p.theta);
  return p;
}

Result<double> Factor(const Params& p) {
  NIBBLE_TRY(const double factor, JsonNumber(p.json, "factor"));
  if (!(factor > 0) || !std::isfinite(factor)) return Corrupt("rope factor is {}, wanted a positive number", factor);
  return factor;
}

Result<double> OriginalPositions(const Params& p, const ModelConfig& config) {
  NIBBLE_TRY(const int64_t top, JsonInt(config.json, "original_max_position_embeddings", config.max_positions));
  NIBBLE_TRY(const int64_t original, JsonInt(p.json, "original_max_position_embeddings", top));
  if (original <= 0) return Corrupt("original_max_position_embeddings is {}, wanted a positive number", original);
  return static_cast<double>(original);
}

constexpr double kPi = 3.14159265358979323846;

// Llama 3: long wavelengths divided by the factor, short ones kept, a smooth ramp between.
Status Llama3(const Params& p, const ModelConfig& config, RopeSpec* rope) {
  NIBBLE_TRY(const double factor, Factor(p));
  NIBBLE_TRY(const double low, JsonNumber(p.json, "low_freq_factor", 1.0));
  NIBBLE_TRY(const double high, JsonNumber(p.json, "high_freq_factor", 4.0));
  NIBBLE_TRY(const double original, OriginalPositions(p, config));
  if (!(high > low)) return Corrupt("rope high_freq_factor {} must exceed low_freq_factor {}", high, low);
  for (float& freq : rope->inv_freq) {
    const double wavelength = 2 * kPi / static_cast<double>(freq);
    if (wavelength > original / low) {
      freq = static_cast<float>(static_cast<double>(freq) / factor);
    } else if (wavelength >= original / high) {
      const double smooth = (original / wavelength - low) / (high - low);
      freq = static_cast<float>((1 - smooth) * static_cast<double>(freq) / factor + smooth * static_cast<double>(freq));
    }
  }
  return {};
}

// YaRN (arXiv 2309.00071): interpolation below, extrapolation above, by how often a dimension turns over the original length.
Status Yarn(const Params& p, const ModelConfig& config, RopeSpec* rope) {
  NIBBLE_TRY(const double original, OriginalPositions(p, config));
  NIBBLE_TRY(const double factor, JsonNumber(p.json, "factor", static_cast<double>(config.max_positions) / original));
  NIBBLE_TRY(const double beta_fast, JsonNumber(p.json, "beta_fast", 32.0));
  NIBBLE_TRY(const double beta_slow, JsonNumber(p.json, "beta_slow", 1.0));
  NIBBLE_TRY(const bool truncate, JsonBool(p.json, "truncate", true));
  NIBBLE_TRY(const double mscale, JsonNumber(p.json, "mscale", 0.0));
  NIBBLE_TRY(const double mscale_all, JsonNumber(p.json, "mscale_all_dim", 0.0));
  const auto scale_of = [&](double m) { return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1.0; };
  const double own = mscale != 0 && mscale_all != 0 ? scale_of(mscale) / scale_of(mscale_all) : scale_of(1);
  NIBBLE_TRY(const double attention, JsonNumber(p.json, "attention_factor", own));
  rope->attention_factor = static_cast<float>(attention);
  const double dims = static_cast<double>(rope->rotary_dims);
  const auto dim_of = [&](double turns) { return dims * std::log(original / (turns * 2 * kPi)) / (2 * std::log(p.theta)); };
  double low = dim_of(beta_fast), high = dim_of(beta_slow);
  if (truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < rope->inv_freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0),
                 freq = static_cast<double>(rope->inv_freq[i]);
    rope->inv_freq[i] = static_cast<float>(freq / factor * ramp + freq * (1 - ramp));
  }
  return {};
}

// LongRoPE (arXiv 2402.13753): every frequency divided by a factor of its own; other factors for sequences beyond the original
// length.
Status LongRope(const Params& p, const ModelConfig& config, RopeSpec* rope) {
  NIBBLE_TRY(const int64_t inner, JsonInt(p.json, "original_max_position_embeddings", config.max_positions));
  NIBBLE_TRY(const int64_t original, JsonInt(config.json, "original_max_position_embeddings", inner));  // the top level wins
  if (original <= 0) return Corrupt("original_max_position_embeddings is {}, wanted a positive number", original);
  const auto divided = [&](const char* key) -> Result<std::vector<float>> {
    const Json* factors = JsonFind(p.json, key);
    if (!factors || !factors->is_array() || factors->size() != rope->inv_freq.size())
      return Corrupt("rope {}: wanted {} numbers, one for each pair of dimensions", key, rope->inv_freq.size());
    std::vector<float> freqs;
    for (size_t i = 0; i < rope->inv_freq.size(); ++i) {
      if (!(*factors)[i].is_number() || !((*factors)[i].get<double>() > 0))
        return Corrupt("rope {}[{}] must be a positive number", key, i);
      const double exponent = static_cast<double>(2 * i) / static_cast<double>(rope->rotary_dims);
      freqs.push_back(static_cast<float>(1.0 / ((*factors)[i].get<double>() * std::pow(p.theta, exponent))));
    }
    return freqs;
  };
  NIBBLE_TRY(rope->long_inv_freq, divided("long_factor"));
  NIBBLE_TRY(rope->inv_freq, divided("short_factor"));
  rope->long_from = original;
  const double length = static_cast<double>(config.max_positions), first = static_cast<double>(original);
  NIBBLE_TRY(const double factor, JsonNumber(p.json, "factor", length / first));
  const double own = factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(first));
  NIBBLE_TRY(const double attention, JsonNumber(p.json, "attention_factor", own));
  // Phi-3.5-MoE gives a factor for each of the two tables.
  NIBBLE_TRY(const double short_scale, JsonNumber(p.json, "short_mscale", attention));
  NIBBLE_TRY(const double long_scale, JsonNumber(p.json, "long_mscale", attention));
  rope->attention_factor = static_cast<float>(short_scale);
  rope->long_attention_factor = static_cast<float>(long_scale);
  return {};
}

Status Scale(const Params& p, const ModelConfig& config, RopeSpec* rope) {
  // mrope turns parts of a head by time, height and width, which are one and the same number for text.
  if (p.kind == "default" || p.kind == "none" || p.kind == "mrope") return {};
  if (p.kind == "linear") {
    NIBBLE_TRY(const double factor, Factor(p));
    for (float& freq : rope->inv_freq) freq = static_cast<float>(static_cast<double>(freq) / factor);
    return {};
  }
  if (p.kind == "dynamic") {
    NIBBLE_TRY(const double alpha, JsonNumber(p.json, "alpha", 0.0));
    if (alpha > 0) {  // HunYuan: the base is moved once, for all lengths
      const double dims = static_cast<double>(rope->rotary_dims), base = p.theta * std::pow(alpha, dims / (dims - 2));
      for (size_t i = 0; i < rope->inv_freq.size(); ++i)
        rope->inv_freq[i] = static_cast<float>(1.0 / std::pow(base, static_cast<double>(2 * i) / dims));
      return {};
    }
    NIBBLE_TRY(rope->dynamic_factor, Factor(p));
    rope->dynamic_from = config.max_positions;
    return {};
  }
  if (p.kind == "proportional") {  // Gemma 4: pairs as far apart as of a whole head, of which the last do not turn
    NIBBLE_TRY(const double factor, JsonNumber(p.json, "factor", 1.0));
    if (!(factor > 0)) return Corrupt("rope factor is {}, wanted a positive number", factor);
    const auto turning = static_cast<size_t>(p.turning * static_cast<double>(rope->rotary_dims) / 2);
    for (size_t i = 0; i < rope->inv_freq.size(); ++i)
      rope->inv_freq[i] = i < turning ? static_cast<float>(static_cast<double>(rope->inv_freq[i]) / factor) : 0;
    return {};
  }
  if (p.kind == "llama3") return Llama3(p, config, rope);
  if (p.kind == "yarn") return Yarn(p, config, rope);
  if (p.kind == "longrope" || p.kind == "su") return LongRope(p, config, rope);
  return Unsupported("rope kind \"{}\" (known: default, linear, dynamic, llama3, yarn, longrope, proportional)", p.kind);
}

Result<RopeSpec> Build(const ModelConfig& config, int64_t head_dim, const RopeDefaults& defaults) {
  NIBBLE_TRY(const Params p, ReadParams(config, defaults));
  RopeSpec rope;
  rope.rotary_dims = static_cast<int64_t>(static_cast<double>(head_dim) * p.partial);
  if (rope.rotary_dims <= 0 || rope.rotary_dims > head_dim || rope.rotary_dims % 2 != 0)
    return Corrupt("{} rotary dimensions of a head of {}; wanted an even number up to the head", rope.rotary_dims, head_dim);
  rope.interleaved = defaults.interleaved;
  rope.theta = p.theta;
  for (int64_t i = 0; i < rope.rotary_dims; i += 2)
    rope.inv_freq.push_back(
        static_cast<float>(1.0 / std::pow(p.theta, static_cast<double>(i) / static_cast<double>(rope.rotary_dims))));
  NIBBLE_RETURN_IF_ERROR(Scale(p, config, &rope));
  return rope;
}

}  // namespace

Result<RopeSpec> RopeFromConfig(const ModelConfig& config, int64_t head_dim, const RopeDefaults& defaults) {
  Result<RopeSpec> rope = Build(config, head_dim, defaults);
  if (!rope) return tl::unexpected(std::move(rope.error()).In(config.where));
  return rope;
}

}  // namespace nibble
