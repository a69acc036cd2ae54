// SPDX-License-Identifier: Apache-2.0
#include "methods/gguf/reader.h"

#include <fmt/format.h>

namespace nibble {

Result<double> GgufReader::Number(std::string_view name, std::optional<double> fallback) const {
  NIBBLE_TRY(const double value, file_.metadata.Number(Key(name), fallback));
  const GgufValue* found = file_.metadata.Find(Key(name));
  if (!found || found->type != GgufType::kF32) return value;
  // The nearest double of the float in the file reads back as it: 1e-05 and not 9.99999974e-06.
  return std::stod(fmt::format("{}", static_cast<float>(value)));
}

Result<int64_t> GgufReader::Uniform(std::string_view name, std::optional<int64_t> fallback) const {
  NIBBLE_TRY(const std::vector<int64_t> values, Ints(name));
  if (values.empty()) return Int(name, fallback);
  for (const int64_t value : values)
    if (value != values[0])
      return Unsupported("{}: key \"{}\" differs between layers ({} and {}); such models are not supported", path(), Key(name),
                         values[0], value);
  return values[0];
}

Result<int64_t> GgufReader::CheckPositive(std::string_view name, int64_t value) const {
  if (value < 1 || value > int64_t{1} << 31) return Corrupt("{}: key \"{}\": {} is not possible", path(), Key(name), value);
  return value;
}

Result<int64_t> GgufReader::Positive(std::string_view name, std::optional<int64_t> fallback) const {
  NIBBLE_TRY(const int64_t value, Uniform(name, fallback));
  return CheckPositive(name, value);
}

Result<std::vector<int64_t>> GgufReader::ByLayer(std::string_view name, std::optional<int64_t> fallback) const {
  NIBBLE_TRY(const int64_t layers, Positive("block_count"));
  NIBBLE_TRY(std::vector<int64_t> values, Ints(name));
  if (values.size() < 2) {
    NIBBLE_TRY(const int64_t value, Positive(name, fallback));
    return std::vector<int64_t>(static_cast<size_t>(layers), value);
  }
  if (static_cast<int64_t>(values.size()) < layers)
    return Corrupt("{}: key \"{}\": {} elements for {} layers", path(), Key(name), values.size(), layers);
  values.resize(static_cast<size_t>(layers));
  for (const int64_t value : values) NIBBLE_RETURN_IF_ERROR(CheckPositive(name, value));
  return values;
}

Result<Json> GgufReader::LayerTypes(int64_t period, SeesAll which) const {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  NIBBLE_TRY(const int64_t layers, Positive("block_count"));
  NIBBLE_TRY(const std::vector<int64_t> values, Ints(kKey));
  const bool listed = static_cast<int64_t>(values.size()) >= layers && layers > 1;
  if (!listed && values.size() > 1)
    return Corrupt("{}: key \"{}\": {} elements for {} layers", path(), Key(kKey), values.size(), layers);
  if (!listed && !values.empty()) period = values[0];
  Json types = Json::array();
  for (int64_t i = 0; i < layers; ++i) {
    const int64_t place = which == kLast ? i + 1 : i;
    const bool slides = listed ? values[static_cast<size_t>(i)] != 0 : period > 0 && place % period != 0;
    types.push_back(slides ? "sliding_attention" : "full_attention");
  }
  return types;
}

}  // namespace nibble
