// SPDX-License-Identifier: Apache-2.0
// What a pre-tokenizer does with the places where its pattern matches.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tokenizers/pre_tokenizer.h"
#include "base/regex.h"

namespace nibble {

enum class SplitBehavior : unsigned char {
  kRemoved,             // matches are dropped
  kIsolated,            // each match is a word
  kMergedWithPrevious,  // a match ends the word before it
  kMergedWithNext,      // a match begins the word after it
  kContiguous,          // neighbouring matches make one word
};
Result<SplitBehavior> ParseSplitBehavior(std::string_view name, const std::string& where);

// Cuts `range` at `matches` (ascending, relative to the range's begin) and appends the words. `invert` exchanges matches and the
// rest.
void SplitRange(const Words::Range& range, const std::vector<Regex::Match>& matches, SplitBehavior behavior, bool invert,
                std::vector<Words::Range>& out);

}  // namespace nibble
