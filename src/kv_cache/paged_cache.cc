// SPDX-License-Identifier: Apache-2.0
#include "kv_cache/paged_cache.h"

#include <algorithm>
#include <new>

#include "base/check.h"

namespace nibble {

const char* StateKindName(StateKind kind) {
  switch (kind) {
    case StateKind::kPagedKv: return "paged k/v";
    case StateKind::kWindow: return "window k/v";
    case StateKind::kLatent: return "latent";
    case StateKind::kRecurrent: return "recurrent";
    case StateKind::kConvolution: return "convolution";
  }
  return "paged k/v";
}

int64_t PagedCache::TokenBytes(const LayerState& layer, const KvFormats& formats) {
  if (IsRewritten(layer.kind)) return 0;
  return layer.heads * (KvRowBytes(*formats.k, layer.k_dim) + KvRowBytes(*formats.v, layer.v_dim));
}

int64_t PagedCache::page_bytes() const {
  int64_t bytes = 0;
  for (const LayerState& layer : layers_) bytes += TokenBytes(layer, formats_) * kPageTokens;
  return bytes;
}

Result<PagedCache> PagedCache::Make(std::vector<LayerState> layers, KvFormats formats, int64_t pages, int64_t sequences) {
  PagedCache cache;
  cache.layers_ = std::move(layers);
  cache.formats_ = formats;
  cache.pages_ = pages;
  for (const LayerState& layer : cache.layers_)
    if (!IsRewritten(layer.kind) && !formats.direct() && std::max(layer.k_dim, layer.v_dim) > kMaxEncodedKvWidth)
      return Unsupported("a K/V cache of {} holds heads of at most {} elements, this model's have {}; use --kv-cache-dtype bf16",
                         formats.name(), kMaxEncodedKvWidth, std::max(layer.k_dim, layer.v_dim));
  const int64_t rows = pages * kPageTokens;
  try {
    for (const LayerState& layer : cache.layers_) {
      cache.shares_prefixes_ &= CanSharePrefix(layer.kind);
      const int64_t heads = IsRewritten(layer.kind) ? 0 : layer.heads;
      cache.k_.emplace_back(rows * heads * KvRowBytes(*formats.k, layer.k_dim));
      cache.v_.emplace_back(rows * heads * KvRowBytes(*formats.v, layer.v_dim));
    }
  } catch (const std::bad_alloc&) {
    return Fail(Code::kResourceExhausted,
                "a K/V cache of {} positions needs {} MiB of address space and the system refused; use a smaller --context",
                pages * kPageTokens, pages * cache.page_bytes() >> 20);
  }
  if (formats.keeps_ends()) {
    NIBBLE_TRY(PagedCache ends, Make(cache.layers_, DType::kBF16, kEndPages * sequences, 0));
    cache.ends_ = std::make_unique<PagedCache>(std::move(ends));
    cache.shares_prefixes_ = false;  // a shared page has no copies
  }
  const auto rewritten = [](const LayerState& layer) { return IsRewritten(layer.kind); };
  if (sequences > 0 && std::any_of(cache.layers_.begin(), cache.layers_.end(), rewritten)) {
    NIBBLE_TRY(StateSlots slots, StateSlots::Make(cache.layers_, sequences));
    cache.slots_ = std::make_unique<StateSlots>(std::move(slots));
  }
  cache.info_.resize(static_cast<size_t>(pages));
  for (int64_t page = pages; page-- > 0;) cache.free_.push_back(static_cast<int32_t>(page));
  return cache;
}

void PagedCache::Forget(int32_t page) {
  Page& info = info_[static_cast<size_t>(page)];
  if (!info.published) return;
  const auto it = by_hash_.find(info.hash);
  if (it != by_hash_.end() && it->second == page) by_hash_.erase(it);
  info.published = false;
  info.tokens.clear();
}

int32_t PagedCache::Allocate() {
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

void PagedCache::AddReference(int32_t page) { ++info_[static_cast<size_t>(page)].references; }

void PagedCache::Release(int32_t page) {
  Page& info = info_[static_cast<size_t>(page)];
  NIBBLE_CHECK(info.references > 0, "page {} released twice", page);
  if (--info.references > 0) return;
  if (info.published)
    idle_.push_back(page);
  else
    free_.push_back(page);
}

uint64_t PagedCache::ChainHash(uint64_t previous, std::span<const int32_t> tokens) {
  uint64_t h = previous ^ 0x9e3779b97f4a7c15ull;
  for (const int32_t token : tokens) {
    h = (h ^ static_cast<uint32_t>(token)) * 0xff51afd7ed558ccdull;
    h ^= h >> 32;
  }
  return h;
}

void PagedCache::Publish(int32_t page, uint64_t hash, std::span<const int32_t> tokens) {
  if (!shares_prefixes_) return;
  Page& info = info_[static_cast<size_t>(page)];
  if (info.published || by_hash_.count(hash)) return;
  info.published = true;
  info.hash = hash;
  info.tokens.assign(tokens.begin(), tokens.end());
  by_hash_[hash] = page;
}

int32_t PagedCache::FindShared(uint64_t hash, std::span<const int32_t> tokens) {
  const auto it = by_hash_.find(hash);
  if (it == by_hash_.end()) return -1;
  Page& info = info_[static_cast<size_t>(it->second)];
  if (!std::equal(tokens.begin(), tokens.end(), info.tokens.begin(), info.tokens.end())) return -1;
  if (info.references == 0) idle_.erase(std::find(idle_.begin(), idle_.end(), it->second));
  ++info.references;
  return it->second;
}

}  // namespace nibble
