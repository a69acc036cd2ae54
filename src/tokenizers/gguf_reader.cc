// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf_reader.h"

namespace nibble {
namespace {

Result<std::optional<int64_t>> OptionalId(const GgufMetadata& metadata, const std::string& where, std::string_view key,
                                          size_t tokens) {
  if (!metadata.Find(key)) return std::optional<int64_t>();
  NIBBLE_TRY(const int64_t id, metadata.Int(key));
  if (id == -1 || id == UINT32_MAX) return std::optional<int64_t>();  // two spellings of "none"
  if (id < 0 || id >= static_cast<int64_t>(tokens))
    return Corrupt("{}: key \"{}\": {} is outside of the vocabulary of {}", where, key, id, tokens);
  return std::optional(id);
}

Result<std::optional<bool>> OptionalBool(const GgufMetadata& metadata, std::string_view key) {
  if (!metadata.Find(key)) return std::optional<bool>();
  NIBBLE_TRY(const bool value, metadata.Bool(key));
  return std::optional(value);
}

Status CheckLength(const std::string& where, const char* key, size_t found, size_t tokens) {
  if (found == 0 || found == tokens) return {};
  return Corrupt("{}: key \"{}\" has {} entries, the vocabulary has {}", where, key, found, tokens);
}

}  // namespace

Result<GgufVocab> ReadGgufVocab(const GgufMetadata& metadata, const std::string& where) {
  GgufVocab vocab;
  NIBBLE_TRY(vocab.model, metadata.String("tokenizer.ggml.model", ""));
  if (vocab.model.empty() || vocab.model == "none" || vocab.model == "no_vocab")
    return NotFound("{}: the file has no tokenizer", where);
  NIBBLE_TRY(vocab.pre, metadata.String("tokenizer.ggml.pre", ""));
  NIBBLE_TRY(const auto tokens, metadata.Strings("tokenizer.ggml.tokens"));
  NIBBLE_TRY(const auto merges, metadata.Strings("tokenizer.ggml.merges"));
  if (tokens.empty()) return Corrupt("{}: key \"tokenizer.ggml.tokens\" is missing or empty", where);
  vocab.tokens.assign(tokens.begin(), tokens.end());
  vocab.merges.assign(merges.begin(), merges.end());
  NIBBLE_TRY(vocab.scores, metadata.Floats("tokenizer.ggml.scores"));
  NIBBLE_TRY(const auto types, metadata.Ints("tokenizer.ggml.token_type"));
  vocab.token_types.reserve(types.size());
  for (const int64_t type : types) vocab.token_types.push_back(type >= 1 && type <= 6 ? static_cast<int32_t>(type) : 0);
  NIBBLE_RETURN_IF_ERROR(CheckLength(where, "tokenizer.ggml.scores", vocab.scores.size(), tokens.size()));
  NIBBLE_RETURN_IF_ERROR(CheckLength(where, "tokenizer.ggml.token_type", types.size(), tokens.size()));
  NIBBLE_TRY(vocab.bos_id, OptionalId(metadata, where, "tokenizer.ggml.bos_token_id", tokens.size()));
  NIBBLE_TRY(vocab.eos_id, OptionalId(metadata, where, "tokenizer.ggml.eos_token_id", tokens.size()));
  NIBBLE_TRY(vocab.unk_id, OptionalId(metadata, where, "tokenizer.ggml.unknown_token_id", tokens.size()));
  NIBBLE_TRY(vocab.eot_id, OptionalId(metadata, where, "tokenizer.ggml.eot_token_id", tokens.size()));
  NIBBLE_TRY(vocab.eom_id, OptionalId(metadata, where, "tokenizer.ggml.eom_token_id", tokens.size()));
  NIBBLE_TRY(vocab.add_bos, OptionalBool(metadata, "tokenizer.ggml.add_bos_token"));
  NIBBLE_TRY(vocab.add_eos, OptionalBool(metadata, "tokenizer.ggml.add_eos_token"));
  NIBBLE_TRY(vocab.add_space_prefix, OptionalBool(metadata, "tokenizer.ggml.add_space_prefix"));
  NIBBLE_TRY(vocab.chat_template, metadata.String("tokenizer.chat_template", ""));
  return vocab;
}

Result<std::unique_ptr<Tokenizer>> OpenGgufTokenizer(const std::string& path) {
  NIBBLE_TRY(const GgufFile file, OpenGguf(path));
  NIBBLE_TRY(const GgufVocab vocab, ReadGgufVocab(file.metadata, path));
  return Tokenizer::FromGgufVocab(vocab, path);
}

}  // namespace nibble
