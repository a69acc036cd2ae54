// SPDX-License-Identifier: Apache-2.0
#include "base/nearest_names.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace nibble {
namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string NearestNames(std::string_view name, const std::vector<std::string_view>& names, size_t count) {
  std::vector<std::pair<size_t, size_t>> order;
  for (size_t i = 0; i < names.size(); ++i) order.emplace_back(EditDistance(name, names[i]), i);
  const auto last = order.begin() + static_cast<std::ptrdiff_t>(std::min(count, order.size()));
  std::partial_sort(order.begin(), last, order.end());
  std::string text;
  for (auto it = order.begin(); it != last; ++it) text += (text.empty() ? "" : ", ") + std::string(names[it->second]);
  return text;
}

}  // namespace nibble
