// SPDX-License-Identifier: Apache-2.0
// Decodes ids one by one, as they are generated, into text that is complete at each step: a character whose bytes are spread over
// several tokens comes out once, when its last byte is there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/tokenizer.h"

namespace nibble {

class StreamDecoder {
 public:
  // `tokenizer` must outlive the decoder.
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special) : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // The text that `id` completes, possibly empty. An id without a token gives no text. All results and Flush() joined are what
  // Tokenizer::Decode gives for all ids at once, unless byte tokens spell something that is not UTF-8: then the places of U+FFFD
  // may differ.
  std::string Push(int32_t id);
  // The rest, with U+FFFD for a character that was never completed. The decoder is then as new.
  std::string Flush();

 private:
  std::string Text(size_t first) const;
  std::string Take();

  const Tokenizer& tokenizer_;
  const bool skip_special_;
  std::vector<int32_t> ids_;  // the window: ids already given out (context for the decoder), then those held back
  size_t held_ = 0;           // where the held ones begin
  std::string context_;       // text of the context alone
};

}  // namespace nibble
