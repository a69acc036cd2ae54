// SPDX-License-Identifier: Apache-2.0
// The paged cache: memory in pages of kPageTokens positions, the same page number in every layer. A sequence owns a list of pages
// (its block table). Pages are counted references, so sequences that begin with the same tokens share them: a full page is known by
// the hash of all tokens up to its end, and stays findable until its memory is needed.
//
// Within a page and layer, head h holds kPageTokens rows of one position each, K and V in memory of their own:
//   k(layer, page, head, slot) = base + (((page * heads + head) * kPageTokens) + slot) * k_row_bytes(layer)
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "kv_cache/kv_format.h"
#include "kv_cache/layer_state.h"
#include "kv_cache/state_slots.h"
#include "tensors/tensor_view.h"

namespace nibble {

inline constexpr int64_t kPageTokens = 32;
// Caches of 4 bits and fewer keep bf16 copies of a sequence's first kPageTokens positions and, for a query at position p, of
// p - kPageTokens + 1 ... p. They lie in kEndPages pages of a cache of their own, ends(): position t < kPageTokens in the first,
// others in page 1 + t / kPageTokens % 2. A step may then hold at most kPageTokens rows of a sequence.
inline constexpr int64_t kEndPages = 3;

class PagedCache {
 public:
  // Reserves address space for `pages` pages; memory is taken when pages are first written. ResourceExhausted if even that fails.
  // sequences: how many may run at once, where the formats keep ends or layers keep rewritten states.
  static Result<PagedCache> Make(std::vector<LayerState> layers, KvFormats formats, int64_t pages, int64_t sequences = 1);
  PagedCache* ends() { return ends_.get(); }    // null where none are kept
  StateSlots* slots() { return slots_.get(); }  // null where no layer's state is rewritten

  int64_t page_count() const { return pages_; }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size() + idle_.size()); }
  const KvFormats& formats() const { return formats_; }
  const LayerState& layer(int64_t i) const { return layers_[static_cast<size_t>(i)]; }
  bool shares_prefixes() const { return shares_prefixes_; }
  // Of one page over all layers.
  int64_t page_bytes() const;
  static int64_t TokenBytes(const LayerState& layer, const KvFormats& formats);
  int64_t k_row_bytes(int64_t layer) const { return KvRowBytes(*formats_.k, this->layer(layer).k_dim); }
  int64_t v_row_bytes(int64_t layer) const { return KvRowBytes(*formats_.v, this->layer(layer).v_dim); }

  std::byte* K(int64_t layer, int32_t page, int64_t head) {
    return k_[static_cast<size_t>(layer)].data() + Rows(layer, page, head) * k_row_bytes(layer);
  }
  std::byte* V(int64_t layer, int32_t page, int64_t head) {
    return v_[static_cast<size_t>(layer)].data() + Rows(layer, page, head) * v_row_bytes(layer);
  }

  // A fresh page with one reference; -1 when none is left.
  int32_t Allocate();
  void AddReference(int32_t page);
  // At zero references the page becomes reusable; if it was published it can still be found until then.
  void Release(int32_t page);

  // Hash of a page that ends a prefix: chain over the previous page's hash and its own tokens.
  static uint64_t ChainHash(uint64_t previous, std::span<const int32_t> tokens);
  // Makes a full, written page findable.
  void Publish(int32_t page, uint64_t hash, std::span<const int32_t> tokens);
  // The page with this hash and these tokens, with a reference added; -1 if there is none.
  int32_t FindShared(uint64_t hash, std::span<const int32_t> tokens);

 private:
  struct Page {
    int32_t references = 0;
    bool published = false;
    uint64_t hash = 0;
    std::vector<int32_t> tokens;
  };
  int64_t Rows(int64_t layer, int32_t page, int64_t head) const { return (page * this->layer(layer).heads + head) * kPageTokens; }
  void Forget(int32_t page);

  std::vector<LayerState> layers_;
  KvFormats formats_ = DType::kF32;
  int64_t pages_ = 0;
  bool shares_prefixes_ = true;
  std::unique_ptr<PagedCache> ends_;
  std::unique_ptr<StateSlots> slots_;
  std::vector<Buffer> k_, v_;
  std::vector<Page> info_;
  std::vector<int32_t> free_;  // never used or forgotten
  std::deque<int32_t> idle_;   // published, no references: oldest first
  std::unordered_map<uint64_t, int32_t> by_hash_;
};

}  // namespace nibble
