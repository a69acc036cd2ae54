// SPDX-License-Identifier: Apache-2.0
// JSON: nlohmann-json behind limits and errors as values. No exception leaves these functions.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nibble {

using Json = nlohmann::json;                 // keys sorted; lookups are logarithmic
using OrderedJson = nlohmann::ordered_json;  // keys in file order; lookups are linear: never for large or hostile objects

inline constexpr int kMaxJsonDepth = 128;

// Whole text, UTF-8. Errors name `where`, the byte and what was expected. Duplicate keys: the last wins, as in Python.
Result<Json> ParseJson(std::string_view text, const std::string& where);
Result<OrderedJson> ParseOrderedJson(std::string_view text, const std::string& where);
// Reads and parses a file of at most max_bytes.
Result<Json> ReadJsonFile(const std::string& path, int64_t max_bytes = int64_t{64} << 20);

// Keys of the object that lies at `path` (keys from the outermost object down) in the order of the file, each once; empty if
// nothing or no object lies there. For rules where the first match wins: Json itself sorts. Linear in the text.
Result<std::vector<std::string>> JsonKeyOrder(std::string_view text, std::span<const std::string> path, const std::string& where);

// The value under `key` (dotted paths are not followed), or nullptr when absent or null.
const Json* JsonFind(const Json& object, std::string_view key);

// Typed access. Absent or null gives the default; a wrong type gives an error naming key, found and wanted.
Result<int64_t> JsonInt(const Json& object, std::string_view key, std::optional<int64_t> fallback = std::nullopt);
Result<double> JsonNumber(const Json& object, std::string_view key, std::optional<double> fallback = std::nullopt);
Result<bool> JsonBool(const Json& object, std::string_view key, std::optional<bool> fallback = std::nullopt);
Result<std::string> JsonString(const Json& object, std::string_view key, std::optional<std::string> fallback = std::nullopt);

}  // namespace nibble
