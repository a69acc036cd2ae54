// SPDX-License-Identifier: Apache-2.0
// The tokenizer of a GGUF file as the files of a hub folder: what converting GGUF to safetensors leaves beside the weights.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tokenizers/gguf_vocab.h"

namespace nibble {

// (file name, text): tokenizer.json, tokenizer_config.json (with the chat template) and generation_config.json (where the file
// names ends of a turn). SentencePiece scores become the merges that they stand for: every pair of tokens whose texts join to a
// token, by falling score. Encodes as the GGUF vocabulary does, up to merges of equal score.
Result<std::vector<std::pair<std::string, std::string>>> HubFilesOfGgufVocab(const GgufVocab& vocab, const std::string& where);

}  // namespace nibble
