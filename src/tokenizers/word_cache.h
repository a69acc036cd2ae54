// SPDX-License-Identifier: Apache-2.0
// Words already encoded in this text: natural language repeats them, and a lookup is far cheaper than merging. One cache belongs to
// one call, so it needs no lock and its memory ends with the call.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

class WordCache {
 public:
  static constexpr size_t kMaxWordBytes = 64;  // longer words hardly repeat
  static constexpr size_t kMaxEntries = 1 << 16;

  static size_t Hash(std::string_view word) { return std::hash<std::string_view>()(word); }

  // The ids of `word`, or nullptr data when it is not there. Valid until the next Insert.
  std::span<const int32_t> Find(std::string_view word, size_t hash) const {
    if (slots_.empty()) return {};
    for (size_t at = hash & Mask(); slots_[at]; at = (at + 1) & Mask()) {
      const Entry& entry = entries_[slots_[at] - 1];
      if (entry.hash == hash && std::string_view(texts_).substr(entry.text, entry.text_size) == word) {
        return std::span(ids_).subspan(entry.ids, entry.ids_size);
      }
    }
    return {};
  }

  void Insert(std::string_view word, size_t hash, std::span<const int32_t> ids) {
    if (word.size() > kMaxWordBytes || ids.empty() || entries_.size() >= kMaxEntries) return;
    if (2 * (entries_.size() + 1) > slots_.size()) Grow();
    entries_.push_back({hash, texts_.size(), ids_.size(), static_cast<uint32_t>(word.size()), static_cast<uint32_t>(ids.size())});
    texts_ += word;
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    Place(entries_.size());
  }

 private:
  struct Entry {
    size_t hash, text, ids;
    uint32_t text_size, ids_size;
  };
  size_t Mask() const { return slots_.size() - 1; }
  void Place(size_t number) {
    size_t at = entries_[number - 1].hash & Mask();
    while (slots_[at]) at = (at + 1) & Mask();
    slots_[at] = static_cast<uint32_t>(number);
  }
  void Grow() {
    slots_.assign(slots_.empty() ? 256 : 2 * slots_.size(), 0);
    for (size_t number = 1; number <= entries_.size(); ++number) Place(number);
  }

  std::vector<uint32_t> slots_;  // number of the entry, counted from 1; 0 is free
  std::vector<Entry> entries_;
  std::string texts_;
  std::vector<int32_t> ids_;
};

}  // namespace nibble
