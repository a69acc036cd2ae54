// SPDX-License-Identifier: Apache-2.0
// Schemes: the names that the field gives to a way of quantizing ("W4A16", "FP8_DYNAMIC"), as a description that rounders and
// writers read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "formats/activation.h"

namespace nibble {

// How the numbers of W[n,k] are stored.
struct WeightScheme {
  enum Grain : uint8_t {
    kChannel,
    kGroup,
    kBlock
  } grain = kGroup;  // what shares a scale: a row, `group` columns of a row, a block
  int bits = 4;
  bool is_float = false;             // e4m3 instead of integers
  bool symmetric = true;             // integers: no zero points
  int64_t group = 128;               // kGroup
  int64_t block_n = 0, block_k = 0;  // kBlock

  // Columns that share a scale in a row of k elements.
  int64_t SharedColumns(int64_t k) const { return grain == kGroup ? group : grain == kBlock ? block_k : k; }
  int64_t SharedRows() const { return grain == kBlock ? block_n : 1; }
};

struct Scheme {
  std::string name;  // "W4A16", as in the table
  WeightScheme weights;
  ActivationSpec act;  // what the checkpoint will demand of activations; grain kNone: nothing
};

// Any case. Usage error with the list for an unknown name; Unsupported with the reason for a known one that cannot be made.
Result<Scheme> ParseScheme(std::string_view name);
// Another group size for integer schemes; -1: one scale a row. Usage error for others.
Status SetGroupSize(int64_t group, Scheme* scheme);
// "W2A16 ... FP8_BLOCK", of those that can be made.
std::string SchemeNames();
// "int4 g128 asymmetric, activations as they are": one line for reports.
std::string DescribeScheme(const Scheme& scheme);

}  // namespace nibble
