// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tokenizers/sentencepiece_file.h"
#include "tokenizers/tokenizer.h"

namespace nibble {

// The tokenizer of a SentencePiece vocabulary, as that library cuts texts. Control pieces are special added tokens, so prompts may
// spell them. prefix_each_part: text behind a special token gets the dummy prefix too, else only the start of the whole text does.
// Nothing is added before or behind a text: post, eos_ids are the caller's.
Result<Tokenizer::Parts> MakeSentencePieceParts(const SentencePieceFile& file, bool prefix_each_part, const std::string& where);

}  // namespace nibble
