// SPDX-License-Identifier: Apache-2.0
// Tokenizers of folders without tokenizer.json: SentencePiece (tokenizer.model, spiece.model), tiktoken (tiktoken.model,
// *.tiktoken, tokenizer.model), vocab.json with merges.txt, vocab.txt (BERT).
#pragma once

#include "tokenizers/hub_config.h"
#include "tokenizers/tokenizer.h"

namespace nibble {

// NotFound names the files that were looked for. Special tokens and what stands around a text follow tokenizer_config.json, else
// the habits of the kind: SentencePiece puts bos before a text.
Result<Tokenizer::Parts> ReadTokenizerFiles(const std::string& folder, const HubTokenizerConfig& config);

// One file: a SentencePiece model or a tiktoken list, told apart by what is in it.
Result<Tokenizer::Parts> ReadTokenizerModelFile(const std::string& path, const HubTokenizerConfig& config);

}  // namespace nibble
