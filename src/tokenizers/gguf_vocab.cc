// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf_vocab.h"

#include "tokenizers/unicode.h"

namespace nibble {
namespace {

Status ReadId(const GgufMetadata& metadata, const char* key, std::optional<int64_t>& out) {
  if (!metadata.Find(key)) return {};
  NIBBLE_TRY(out, metadata.Int(key));
  return {};
}

Status ReadFlag(const GgufMetadata& metadata, const char* key, std::optional<bool>& out) {
  if (!metadata.Find(key)) return {};
  NIBBLE_TRY(out, metadata.Bool(key));
  return {};
}

}  // namespace

Result<GgufVocab> ReadGgufVocab(const GgufMetadata& metadata) {
  GgufVocab vocab;
  NIBBLE_TRY(vocab.model, metadata.String("tokenizer.ggml.model"));
  NIBBLE_TRY(vocab.pre, metadata.String("tokenizer.ggml.pre", ""));
  NIBBLE_TRY(const auto tokens, metadata.Strings("tokenizer.ggml.tokens"));
  for (const auto token : tokens) vocab.tokens.push_back(unicode::Sanitize(token));
  NIBBLE_TRY(vocab.scores, metadata.Floats("tokenizer.ggml.scores"));
  NIBBLE_TRY(const auto types, metadata.Ints("tokenizer.ggml.token_type"));
  for (const int64_t type : types) vocab.token_types.push_back(static_cast<int32_t>(type));
  NIBBLE_TRY(const auto merges, metadata.Strings("tokenizer.ggml.merges"));
  for (const auto merge : merges) vocab.merges.push_back(unicode::Sanitize(merge));
  NIBBLE_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.bos_token_id", vocab.bos_id));
  NIBBLE_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.eos_token_id", vocab.eos_id));
  NIBBLE_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.unknown_token_id", vocab.unk_id));
  NIBBLE_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.eot_token_id", vocab.eot_id));
  NIBBLE_RETURN_IF_ERROR(ReadId(metadata, "tokenizer.ggml.eom_token_id", vocab.eom_id));
  NIBBLE_RETURN_IF_ERROR(ReadFlag(metadata, "tokenizer.ggml.add_bos_token", vocab.add_bos));
  NIBBLE_RETURN_IF_ERROR(ReadFlag(metadata, "tokenizer.ggml.add_eos_token", vocab.add_eos));
  NIBBLE_RETURN_IF_ERROR(ReadFlag(metadata, "tokenizer.ggml.add_space_prefix", vocab.add_space_prefix));
  NIBBLE_TRY(const std::string chat_template, metadata.String("tokenizer.chat_template", ""));
  vocab.chat_template = unicode::Sanitize(chat_template);
  return vocab;
}

}  // namespace nibble
