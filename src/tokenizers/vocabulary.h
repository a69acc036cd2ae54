// SPDX-License-Identifier: Apache-2.0
// Token texts and their ids. Ids may have holes: an id without a token has no text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace nibble {

class Vocabulary {
 public:
  // Takes (text, id) pairs. Errors: an id below 0, given twice, or far above the number of tokens; a text given twice.
  static Result<Vocabulary> Make(std::vector<std::pair<std::string, int32_t>> tokens, const std::string& where);

  // Id of the token with this text, or -1.
  int32_t Find(std::string_view text) const;
  // One more than the highest id.
  int32_t size() const { return static_cast<int32_t>(texts_.size()); }
  bool Has(int32_t id) const { return id >= 0 && id < size() && present_[static_cast<size_t>(id)]; }
  // Empty for an id without a token.
  const std::string& Text(int32_t id) const { return Has(id) ? texts_[static_cast<size_t>(id)] : empty_; }
  // Bytes of the longest token.
  size_t longest() const { return longest_; }

 private:
  std::vector<std::string> texts_;
  std::vector<char> present_;
  std::vector<int32_t> slots_;  // open addressing, id + 1, 0 is free; a power of two, at most half full
  size_t longest_ = 0;
  std::string empty_;
};

}  // namespace nibble
