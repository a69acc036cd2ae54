// SPDX-License-Identifier: Apache-2.0
// Normalizers of tokenizer.json: text -> text, before it is cut into words.
#pragma once

#include <memory>
#include <string>

#include "io/json.h"

namespace nibble {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // `text` is well-formed UTF-8 and so is the result. Thread-safe. Fails only when a limit is hit.
  virtual Result<std::string> Apply(std::string text) const = 0;
};

// Types: Sequence NFC NFD NFKC NFKD Lowercase Strip StripAccents Prepend Replace BertNormalizer Nmt Precompiled
// ByteLevel. Another type is kUnsupported.
Result<std::unique_ptr<Normalizer>> ParseNormalizer(const Json& spec, const std::string& where);

}  // namespace nibble
