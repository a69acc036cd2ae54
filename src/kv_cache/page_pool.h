// SPDX-License-Identifier: Apache-2.0
// The numbers of pages: which are free, who holds them, and which can be found again. Pages are counted references, so sequences
// that begin with the same tokens share them: a full page is known by the hash of all tokens up to its end, and stays findable
// until its memory is needed.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>
#include <vector>

namespace nibble {

class PagePool {
 public:
  explicit PagePool(int64_t pages);

  int64_t size() const { return static_cast<int64_t>(info_.size()); }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size() + idle_.size()); }

  // A fresh page with one reference; -1 when none is left.
  int32_t Allocate();
  void AddReference(int32_t page);
  // At zero references the page becomes reusable; if it was published it can still be found until then.
  void Release(int32_t page);

  // Hash of a page that ends a prefix: chain over the previous page's hash and its own tokens.
  static uint64_t ChainHash(uint64_t previous, std::span<const int32_t> tokens);
  // Makes a full, written page findable.
  void Publish(int32_t page, uint64_t hash, std::span<const int32_t> tokens);
  bool IsShared(uint64_t hash, std::span<const int32_t> tokens) const;
  // The page with this hash and these tokens, with a reference added; -1 if there is none.
  int32_t FindShared(uint64_t hash, std::span<const int32_t> tokens);

 private:
  struct Page {
    int32_t references = 0;
    bool published = false;
    uint64_t hash = 0;
    std::vector<int32_t> tokens;
  };
  void Forget(int32_t page);

  std::vector<Page> info_;
  std::vector<int32_t> free_;  // never used or forgotten
  std::deque<int32_t> idle_;   // published, no references: oldest first
  std::unordered_map<uint64_t, int32_t> by_hash_;
};

}  // namespace nibble
