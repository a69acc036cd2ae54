// SPDX-License-Identifier: Apache-2.0
#include "io/tensor_index.h"

#include <algorithm>
#include <numeric>

namespace nibble {

Result<TensorIndex> TensorIndex::Make(std::vector<StoredTensor> tensors) {
  TensorIndex index;
  index.tensors_ = std::move(tensors);
  index.by_name_.resize(index.tensors_.size());
  std::iota(index.by_name_.begin(), index.by_name_.end(), 0u);
  const auto& all = index.tensors_;
  std::sort(index.by_name_.begin(), index.by_name_.end(), [&](uint32_t a, uint32_t b) { return all[a].name < all[b].name; });
  for (size_t i = 1; i < index.by_name_.size(); ++i) {
    const StoredTensor& a = all[index.by_name_[i - 1]];
    const StoredTensor& b = all[index.by_name_[i]];
    if (a.name == b.name) return Corrupt("{}: tensor \"{}\" is also in {}; every name must occur once", b.file, b.name, a.file);
  }
  for (const StoredTensor& tensor : all) index.total_bytes_ += tensor.size_bytes;
  return index;
}

const StoredTensor* TensorIndex::Find(std::string_view name) const {
  const auto it = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](uint32_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
  return it == by_name_.end() || tensors_[*it].name != name ? nullptr : &tensors_[*it];
}

bool TensorIndex::HasPrefix(std::string_view prefix) const {
  const auto it = std::lower_bound(by_name_.begin(), by_name_.end(), prefix,
                                   [&](uint32_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
  return it != by_name_.end() && tensors_[*it].name.compare(0, prefix.size(), prefix) == 0;
}

}  // namespace nibble
