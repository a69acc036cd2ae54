// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/tokenizer.h"

namespace nibble {

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromGgufVocab(const GgufVocab& vocab, const std::string& where) {
  return Unsupported("{}: GGUF tokenizer model \"{}\"", where, vocab.model);
}

}  // namespace nibble
