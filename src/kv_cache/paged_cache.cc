// SPDX-License-Identifier: Apache-2.0
#include "kv_cache/paged_cache.h"

#include <algorithm>
#include <new>

namespace nibble {

int64_t PagedCache::TokenBytes(const LayerState& layer, const KvFormats& formats) {
  if (IsRewritten(layer.kind)) return 0;
  return layer.heads * (KvRowBytes(*formats.k, layer.k_dim) + VBytes(layer, formats));
}

int64_t PagedCache::SequencePages(const LayerState& layer, const CacheSize& size) {
  const int64_t all = CeilDiv(size.context, kPageTokens);
  if (layer.window == 0 || size.step_rows == 0) return all;
  // Of a step's rows the first sees window - 1 positions before it; they and the step's begin and end anywhere in a page.
  return std::min(all, CeilDiv(layer.window + size.step_rows - 2, kPageTokens) + 1);
}

Result<PagedCache> PagedCache::MakePages(std::vector<LayerState> layers, KvFormats formats, const CacheSize& size) {
  PagedCache cache;
  cache.layers_ = std::move(layers);
  cache.formats_ = formats;
  for (const LayerState& layer : cache.layers_)
    if (!IsRewritten(layer.kind) && !formats.direct() && std::max(layer.k_dim, layer.v_dim) > kMaxEncodedKvWidth)
      return Unsupported("a K/V cache of {} holds heads of at most {} elements, this model's have {}; use --kv-cache-dtype bf16",
                         formats.name(), kMaxEncodedKvWidth, std::max(layer.k_dim, layer.v_dim));
  int64_t bytes = 0;
  try {
    for (const LayerState& layer : cache.layers_) {
      cache.shares_prefixes_ &= CanSharePrefix(layer.kind);
      const int64_t pages = IsRewritten(layer.kind) ? 0 : SequencePages(layer, size) * size.sequences;
      const int64_t rows = pages * kPageTokens * layer.heads;
      bytes += pages * kPageTokens * TokenBytes(layer, formats);
      cache.k_.emplace_back(rows * KvRowBytes(*formats.k, layer.k_dim));
      cache.v_.emplace_back(rows * VBytes(layer, formats));
      int group = -1;
      for (size_t i = 0; i < cache.groups_.size() && pages > 0; ++i)
        if (cache.groups_[i].window == layer.window) group = static_cast<int>(i);
      if (group < 0 && pages > 0) {
        group = static_cast<int>(cache.groups_.size());
        cache.groups_.push_back({layer.window, PagePool(pages)});
      }
      cache.group_of_.push_back(group);
    }
  } catch (const std::bad_alloc&) {
    return Fail(
        Code::kResourceExhausted,
        "a K/V cache of {} positions needs more than {} MiB of address space and the system refused; use a smaller --context",
        size.context * size.sequences, bytes >> 20);
  }
  return cache;
}

Result<PagedCache> PagedCache::Make(std::vector<LayerState> layers, KvFormats formats, const CacheSize& size) {
  NIBBLE_TRY(PagedCache cache, MakePages(std::move(layers), formats, size));
  if (formats.keeps_ends()) {
    std::vector<LayerState> everything = cache.layers_;
    for (LayerState& layer : everything) layer.window = 0;
    NIBBLE_TRY(PagedCache ends, MakePages(everything, DType::kBF16, {kEndPages * kPageTokens, size.sequences}));
    cache.ends_ = std::make_unique<PagedCache>(std::move(ends));
    cache.shares_prefixes_ = false;  // a shared page has no copies
  }
  const auto rewritten = [](const LayerState& layer) { return IsRewritten(layer.kind); };
  if (std::any_of(cache.layers_.begin(), cache.layers_.end(), rewritten)) {
    NIBBLE_TRY(StateSlots slots, StateSlots::Make(cache.layers_, size.sequences));
    cache.slots_ = std::make_unique<StateSlots>(std::move(slots));
  }
  return cache;
}

}  // namespace nibble
