// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace nibble {
namespace {

// Published vocabularies have few holes; a lone id of two billion is a broken file that would take 64 GiB of table.
constexpr size_t kSpareIds = 100'000;

}  // namespace

Result<Vocabulary> Vocabulary::Make(std::vector<std::pair<std::string, int32_t>> tokens, const std::string& where) {
  Vocabulary vocabulary;
  int32_t highest = -1;
  for (const auto& [text, id] : tokens) {
    if (id < 0) return Corrupt("{}: token \"{}\" has id {}, wanted 0 or more", where, text, id);
    highest = std::max(highest, id);
  }
  const size_t size = static_cast<size_t>(highest + 1);
  if (size > 2 * tokens.size() + kSpareIds)
    return Corrupt("{}: highest id is {}, but there are only {} tokens", where, highest, tokens.size());
  vocabulary.texts_.resize(size);
  vocabulary.present_.resize(size);
  vocabulary.slots_.resize(std::bit_ceil(2 * tokens.size() + 2));
  const size_t mask = vocabulary.slots_.size() - 1;
  for (auto& [text, id] : tokens) {
    const auto index = static_cast<size_t>(id);
    if (vocabulary.present_[index]) {
      return Corrupt("{}: id {} belongs to \"{}\" and to \"{}\"", where, id, vocabulary.texts_[index], text);
    }
    size_t slot = std::hash<std::string_view>()(text) & mask;
    while (vocabulary.slots_[slot]) {
      const int32_t other = vocabulary.slots_[slot] - 1;
      if (vocabulary.Text(other) == text) return Corrupt("{}: token \"{}\" has the ids {} and {}", where, text, other, id);
      slot = (slot + 1) & mask;
    }
    vocabulary.slots_[slot] = id + 1;
    vocabulary.longest_ = std::max(vocabulary.longest_, text.size());
    vocabulary.present_[index] = 1;
    vocabulary.texts_[index] = std::move(text);
  }
  return vocabulary;
}

int32_t Vocabulary::Find(std::string_view text) const {
  if (slots_.empty() || text.size() > longest_) return -1;
  const size_t mask = slots_.size() - 1;
  for (size_t slot = std::hash<std::string_view>()(text) & mask; slots_[slot]; slot = (slot + 1) & mask) {
    const int32_t id = slots_[slot] - 1;
    if (texts_[static_cast<size_t>(id)] == text) return id;
  }
  return -1;
}

}  // namespace nibble
