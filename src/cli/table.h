// SPDX-License-Identifier: Apache-2.0
// A table in plain text on stdout, columns as wide as they need.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace nibble {

class TextTable {
 public:
  // align: one letter a column, 'l' or 'r'.
  TextTable(std::vector<std::string> header, std::string align) : align_(std::move(align)) { rows_.push_back(std::move(header)); }
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  void Print() const;

 private:
  std::string align_;
  std::vector<std::vector<std::string>> rows_;
};

// "4.37 GiB", "12.0 KiB", "17 B".
std::string HumanBytes(int64_t bytes);

}  // namespace nibble
