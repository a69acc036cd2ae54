// SPDX-License-Identifier: Apache-2.0
// Any bytes as a tokenizer.json, then texts and ids through what came out. A zero byte ends the file; what follows is one more
// text.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tokenizers/stream_decoder.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t zero = bytes.find('\0');
  const auto tokenizer = nibble::Tokenizer::FromTokenizerJson(bytes.substr(0, zero), "fuzz");
  if (!tokenizer) return 0;
  const std::string_view text =
      zero == bytes.npos ? std::string_view("Once upon a  time\u2581\U0001F600<|eot|> 123!\n") : bytes.substr(zero + 1);
  for (const bool special : {false, true}) {
    const auto ids = (*tokenizer)->Encode(text, special);
    if (!ids) continue;
    const auto decoded = (*tokenizer)->Decode(*ids, special);
    if (decoded && !nibble::unicode::IsValid(*decoded)) std::abort();
    nibble::StreamDecoder stream(**tokenizer, special);
    for (const int32_t id : *ids) stream.Push(id);
    stream.Flush();
  }
  return 0;
}
