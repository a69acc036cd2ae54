// SPDX-License-Identifier: Apache-2.0
// From a GGUF file's metadata to GgufVocab.
#pragma once

#include <memory>
#include <string>

#include "io/gguf.h"
#include "tokenizers/gguf_vocab.h"
#include "tokenizers/tokenizer.h"

namespace nibble {

// Keys tokenizer.ggml.* and tokenizer.chat_template. NotFound when the file has no tokenizer; Corrupt when lists have different
// lengths. Token ids that point outside of the vocabulary are errors, so that nobody indexes with them.
Result<GgufVocab> ReadGgufVocab(const GgufMetadata& metadata, const std::string& where);

// The tokenizer of a .gguf file (any shard).
Result<std::unique_ptr<Tokenizer>> OpenGgufTokenizer(const std::string& path);

}  // namespace nibble
