// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

namespace nibble {

void TextTable::Print() const {
  std::vector<size_t> width(align_.size(), 0);
  for (const auto& row : rows_)
    // The last cell of a short row may run over the columns that follow.
    for (size_t i = 0; i < row.size(); ++i)
      if (row.size() == width.size() || i + 1 < row.size()) width[i] = std::max(width[i], row[i].size());
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(row[i].size() < width[i] ? width[i] - row[i].size() : 0, ' ');
      line += (i ? "  " : "") + (align_[i] == 'r' ? space + row[i] : row[i] + space);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::printf("%s\n", line.c_str());
  }
}

std::string HumanBytes(int64_t bytes) {
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit < 3; ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : 1, kUnits[unit]);
}

}  // namespace nibble
