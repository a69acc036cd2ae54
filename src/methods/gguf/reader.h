// SPDX-License-Identifier: Apache-2.0
// The metadata of one architecture in a GGUF file, keys without its prefix.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf.h"
#include "io/json.h"

namespace nibble {

class GgufReader {
 public:
  GgufReader(const GgufFile& file, std::string architecture) : file_(file), name_(std::move(architecture)), prefix_(name_ + ".") {}

  const std::string& name() const { return name_; }
  std::string Key(std::string_view name) const { return prefix_ + std::string(name); }
  bool Has(std::string_view name) const { return file_.metadata.Find(Key(name)) != nullptr; }
  bool HasTensor(std::string_view name) const { return file_.tensors.Find(name) != nullptr; }
  Result<int64_t> Int(std::string_view name, std::optional<int64_t> fallback = std::nullopt) const {
    return file_.metadata.Int(Key(name), fallback);
  }
  Result<double> Number(std::string_view name, std::optional<double> fallback = std::nullopt) const;
  Result<bool> Bool(std::string_view name, std::optional<bool> fallback = std::nullopt) const {
    return file_.metadata.Bool(Key(name), fallback);
  }
  Result<std::vector<int64_t>> Ints(std::string_view name) const { return file_.metadata.Ints(Key(name)); }
  // A key that may be one number or one a layer: all the same, or Unsupported.
  Result<int64_t> Uniform(std::string_view name, std::optional<int64_t> fallback = std::nullopt) const;
  // Of 1 to 2^31, else Corrupt.
  Result<int64_t> Positive(std::string_view name, std::optional<int64_t> fallback = std::nullopt) const;
  Result<int64_t> CheckPositive(std::string_view name, int64_t value) const;
  // One number for each layer of a key that may hold one for all, positive each, else Corrupt.
  Result<std::vector<int64_t>> ByLayer(std::string_view name, std::optional<int64_t> fallback = std::nullopt) const;
  // "sliding_attention" and "full_attention" of each layer, by attention.sliding_window_pattern: one truth a layer, or a period
  // (`period` where the key is missing) whose last layer, or its first, sees everything.
  enum SeesAll : uint8_t { kLast, kFirst };
  Result<Json> LayerTypes(int64_t period, SeesAll which = kLast) const;

  const GgufFile& file() const { return file_; }
  const std::string& path() const { return file_.files[0]->path(); }

 private:
  const GgufFile& file_;
  std::string name_, prefix_;
};

}  // namespace nibble
