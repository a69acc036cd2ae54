// SPDX-License-Identifier: Apache-2.0
// Decoders of tokenizer.json: token texts -> pieces of text, to be joined.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/json.h"

namespace nibble {

class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  // Rewrites the list. Thread-safe. Fails only when a limit is hit.
  virtual Status Apply(std::vector<std::string>& pieces) const = 0;
};

// Types: Sequence ByteLevel ByteFallback Fuse Strip Replace Metaspace WordPiece BPEDecoder CTC. Another type is kUnsupported.
Result<std::unique_ptr<TokenDecoder>> ParseDecoder(const Json& spec, const std::string& where);

}  // namespace nibble
