// SPDX-License-Identifier: Apache-2.0
// tiktoken's files: one "base64-of-bytes rank" a line. Neighbours merge when their joined bytes have a rank, the lowest rank first.
#pragma once

#include "tokenizers/hub_config.h"
#include "tokenizers/tokenizer.h"

namespace nibble {

// How words are cut; such a file does not say it.
inline constexpr std::string_view kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Kimi: a run of Han is a word; the other words are cut at capitals, and no word mixes Han in.
std::string KimiPattern();

bool LooksLikeTiktoken(std::string_view bytes);

// Special tokens are config's, and where it lists none those of the two families whose file sizes are known (Llama 3: 128,000
// ranks, Qwen: 151,643). The pattern follows tokenizer_class (QWenTokenizer, Kimi's TikTokenTokenizer), else it is Llama 3's.
Result<Tokenizer::Parts> MakeTiktokenParts(std::string_view bytes, const HubTokenizerConfig& config, const std::string& where);

}  // namespace nibble
