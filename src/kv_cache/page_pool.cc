// SPDX-License-Identifier: Apache-2.0
#include "kv_cache/page_pool.h"

#include <algorithm>

#include "base/check.h"

namespace nibble {

PagePool::PagePool(int64_t pages) : info_(static_cast<size_t>(pages)) {
  for (int64_t page = pages; page-- > 0;) free_.push_back(static_cast<int32_t>(page));
}

void PagePool::Forget(int32_t page) {
  Page& info = info_[static_cast<size_t>(page)];
  if (!info.published) return;
  const auto it = by_hash_.find(info.hash);
  if (it != by_hash_.end() && it->second == page) by_hash_.erase(it);
  info.published = false;
  info.tokens.clear();
}

int32_t PagePool::Allocate() {
  int32_t page;
  if (!free_.empty()) {
    page = free_.back();
    free_.pop_back();
  } else if (!idle_.empty()) {
    page = idle_.front();
    idle_.pop_front();
    Forget(page);
  } else {
    return -1;
  }
  info_[static_cast<size_t>(page)].references = 1;
  return page;
}

void PagePool::AddReference(int32_t page) { ++info_[static_cast<size_t>(page)].references; }

void PagePool::Release(int32_t page) {
  Page& info = info_[static_cast<size_t>(page)];
  NIBBLE_CHECK(info.references > 0, "page {} released twice", page);
  if (--info.references > 0) return;
  if (info.published)
    idle_.push_back(page);
  else
    free_.push_back(page);
}

uint64_t PagePool::ChainHash(uint64_t previous, std::span<const int32_t> tokens) {
  uint64_t h = previous ^ 0x9e3779b97f4a7c15ull;
  for (const int32_t token : tokens) {
    h = (h ^ static_cast<uint32_t>(token)) * 0xff51afd7ed558ccdull;
    h ^= h >> 32;
  }
  return h;
}

void PagePool::Publish(int32_t page, uint64_t hash, std::span<const int32_t> tokens) {
  Page& info = info_[static_cast<size_t>(page)];
  if (info.published || by_hash_.count(hash)) return;
  info.published = true;
  info.hash = hash;
  info.tokens.assign(tokens.begin(), tokens.end());
  by_hash_[hash] = page;
}

bool PagePool::IsShared(uint64_t hash, std::span<const int32_t> tokens) const {
  const auto it = by_hash_.find(hash);
  if (it == by_hash_.end()) return false;
  const Page& info = info_[static_cast<size_t>(it->second)];
  return std::equal(tokens.begin(), tokens.end(), info.tokens.begin(), info.tokens.end());
}

int32_t PagePool::FindShared(uint64_t hash, std::span<const int32_t> tokens) {
  if (!IsShared(hash, tokens)) return -1;
  const int32_t page = by_hash_[hash];
  Page& info = info_[static_cast<size_t>(page)];
  if (info.references == 0) idle_.erase(std::find(idle_.begin(), idle_.end(), page));
  ++info.references;
  return page;
}

}  // namespace nibble
