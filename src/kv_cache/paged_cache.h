// SPDX-License-Identifier: Apache-2.0
// The paged cache: memory in pages of kPageTokens positions. A sequence owns a list of pages (its block table). Layers that keep
// equally much, everything or the same window, form a group: a page has the same number in all of them. A sequence gives back the
// pages that its window has left.
//
// Within a page and layer, head h holds kPageTokens positions, K and V in memory of their own, at
//   base + (page * heads + head) * kPageTokens * row_bytes(layer)
// as rows of one position each; K of plain elements lies transposed, element i of slot s at i * kPageTokens + s
// (kernels/cpu/attention/attention.h). Latent layers have rows in K, since V is read from them too.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"
#include "kernels/cpu/attention/attention.h"
#include "kv_cache/kv_format.h"
#include "kv_cache/layer_state.h"
#include "kv_cache/page_pool.h"
#include "kv_cache/state_slots.h"
#include "tensors/tensor_view.h"

namespace nibble {

// Caches of 4 bits and fewer keep bf16 copies of a sequence's first kPageTokens positions and, for a query at position p, of
// p - kPageTokens + 1 ... p. They lie in kEndPages pages of a cache of their own, ends(): position t < kPageTokens in the first,
// others in page 1 + t / kPageTokens % 2. A step may then hold at most kPageTokens rows of a sequence.
inline constexpr int64_t kEndPages = 3;

struct CacheSize {
  int64_t context = 0;    // positions of one sequence
  int64_t sequences = 1;  // that may run at once
  int64_t step_rows = 0;  // most rows of a step; 0: layers with a window keep everything as well
};

class PagedCache {
 public:
  // Reserves address space; memory is taken when pages are first written. ResourceExhausted if even that fails.
  static Result<PagedCache> Make(std::vector<LayerState> layers, KvFormats formats, const CacheSize& size);
  PagedCache* ends() { return ends_.get(); }    // null where none are kept
  StateSlots* slots() { return slots_.get(); }  // null where no layer's state is rewritten

  int groups() const { return static_cast<int>(groups_.size()); }
  int group_of(int64_t layer) const { return group_of_[static_cast<size_t>(layer)]; }  // -1: keeps no positions
  PagePool& pool(int group) { return groups_[static_cast<size_t>(group)].pool; }
  int64_t window(int group) const { return groups_[static_cast<size_t>(group)].window; }  // 0: everything
  const KvFormats& formats() const { return formats_; }
  const LayerState& layer(int64_t i) const { return layers_[static_cast<size_t>(i)]; }
  bool shares_prefixes() const { return shares_prefixes_; }
  // What one sequence has at most.
  static int64_t SequencePages(const LayerState& layer, const CacheSize& size);
  static int64_t TokenBytes(const LayerState& layer, const KvFormats& formats);
  // K's elements lie transposed.
  bool transposed(int64_t layer) const {
    return formats_.k->element != DType::kNone && this->layer(layer).kind != StateKind::kLatent;
  }
  int64_t k_row_bytes(int64_t layer) const { return KvRowBytes(*formats_.k, this->layer(layer).k_dim); }
  int64_t v_row_bytes(int64_t layer) const { return VBytes(this->layer(layer), formats_); }  // 0: V is part of K

  std::byte* K(int64_t layer, int32_t page, int64_t head) {
    return k_[static_cast<size_t>(layer)].data() + Rows(layer, page, head) * k_row_bytes(layer);
  }
  std::byte* V(int64_t layer, int32_t page, int64_t head) {
    return v_[static_cast<size_t>(layer)].data() + Rows(layer, page, head) * v_row_bytes(layer);
  }

 private:
  static int64_t VBytes(const LayerState& layer, const KvFormats& formats) {
    return layer.kind == StateKind::kLatent ? 0 : KvRowBytes(*formats.v, layer.v_dim);
  }
  struct Group {
    int64_t window;
    PagePool pool;
  };
  static Result<PagedCache> MakePages(std::vector<LayerState> layers, KvFormats formats, const CacheSize& size);
  int64_t Rows(int64_t layer, int32_t page, int64_t head) const { return (page * this->layer(layer).heads + head) * kPageTokens; }

  std::vector<LayerState> layers_;
  KvFormats formats_ = DType::kF32;
  bool shares_prefixes_ = true;
  std::vector<Group> groups_;
  std::vector<int> group_of_;  // by layer
  std::unique_ptr<PagedCache> ends_;
  std::unique_ptr<StateSlots> slots_;
  std::vector<Buffer> k_, v_;
};

}  // namespace nibble
