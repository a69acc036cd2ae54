// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf_reader.h"

#include "tokenizers/unicode.h"

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

Result<std::optional<bool>> OptionalGgufBool(const GgufMetadata& metadata, std::string_view key) {
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
  for (const auto token : tokens) vocab.tokens.push_back(unicode::Sanitize(token));
  for (const auto merge : merges) vocab.merges.push_back(unicode::Sanitize(merge));
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
  NIBBLE_TRY(vocab.add_bos, OptionalGgufBool(metadata, "tokenizer.ggml.add_bos_token"));
  NIBBLE_TRY(vocab.add_eos, OptionalGgufBool(metadata, "tokenizer.ggml.add_eos_token"));
  NIBBLE_TRY(vocab.add_space_prefix, OptionalGgufBool(metadata, "tokenizer.ggml.add_space_prefix"));
  NIBBLE_TRY(vocab.cls_id, OptionalId(metadata, where, "tokenizer.ggml.cls_token_id", tokens.size()));
  NIBBLE_TRY(vocab.sep_id, OptionalId(metadata, where, "tokenizer.ggml.seperator_token_id", tokens.size()));  // spelled so
  NIBBLE_TRY(vocab.remove_extra_whitespaces, OptionalGgufBool(metadata, "tokenizer.ggml.remove_extra_whitespaces"));
  if (metadata.Find("tokenizer.ggml.precompiled_charsmap")) {
    NIBBLE_TRY(const auto bytes, metadata.Ints("tokenizer.ggml.precompiled_charsmap"));
    for (const int64_t byte : bytes) vocab.charsmap += static_cast<char>(byte & 0xFF);
  }
  NIBBLE_TRY(const std::string chat_template, metadata.String("tokenizer.chat_template", ""));
  vocab.chat_template = unicode::Sanitize(chat_template);
  if (!metadata.Find("tokenizer.chat_templates")) return vocab;
  NIBBLE_TRY(const auto names, metadata.Strings("tokenizer.chat_templates"));
  for (const auto name : names) {
    NIBBLE_TRY(const std::string text, metadata.String(fmt::format("tokenizer.chat_template.{}", name), ""));
    if (!text.empty()) vocab.named_templates.emplace_back(name, unicode::Sanitize(text));
  }
  return vocab;
}

Result<std::unique_ptr<Tokenizer>> OpenGgufTokenizer(const std::string& path) {
  NIBBLE_TRY(const GgufFile file, OpenGguf(path));
  NIBBLE_TRY(const GgufVocab vocab, ReadGgufVocab(file.metadata, path));
  return Tokenizer::FromGgufVocab(vocab, path);
}

}  // namespace nibble
