// SPDX-License-Identifier: Apache-2.0
// What a SentencePiece vocabulary says, from a tokenizer.model (a protobuf message, read here by hand) or from the keys of a GGUF
// file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nibble {

struct SentencePieceFile {
  enum Type : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  bool unigram = true;  // else BPE by scores
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;
  std::string charsmap;  // charsmap.h; may be empty
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  bool whitespace_as_suffix = false, byte_fallback = false;
  int32_t unk_id = 0, bos_id = 1, eos_id = 2;  // -1: none
};

// Corrupt: not such a message, or one without pieces. Unsupported: the word and char models.
Result<SentencePieceFile> ReadSentencePieceFile(std::string_view bytes, const std::string& where);

}  // namespace nibble
