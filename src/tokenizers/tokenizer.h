// SPDX-License-Identifier: Apache-2.0
// Text <-> token ids, from a hub folder, a tokenizer.json or the vocabulary of a GGUF file. Immutable after loading: every const
// method may be called from any number of threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "tokenizers/added_tokens.h"
#include "tokenizers/decoder.h"
#include "tokenizers/gguf_vocab.h"
#include "tokenizers/model.h"
#include "tokenizers/normalizer.h"
#include "tokenizers/post_processor.h"
#include "tokenizers/pre_tokenizer.h"

namespace nibble {

class Tokenizer {
 public:
  // A folder with tokenizer.json, or else one of the files of tokenizer_files.h. tokenizer_config.json and generation_config.json,
  // where present, add the bos and eos tokens.
  static Result<std::unique_ptr<Tokenizer>> FromHubFolder(const std::string& folder);
  // The text of a tokenizer.json; `where` is named in errors. kUnsupported names a component that is not known. Its "truncation"
  // and "padding" are ignored: whole texts only.
  static Result<std::unique_ptr<Tokenizer>> FromTokenizerJson(std::string_view text, const std::string& where);
  // "llama" (SentencePiece with scores), "gpt2" (byte-level with merges and a pre-tokenizer name), "t5" (unigram) and "bert"
  // (WordPiece); others are kUnsupported.
  static Result<std::unique_ptr<Tokenizer>> FromGgufVocab(const GgufVocab& vocab, const std::string& where);
  // A folder, a .gguf file, a tokenizer.json, a SentencePiece model or a tiktoken list.
  static Result<std::unique_ptr<Tokenizer>> Open(const std::string& path);

  // Ids of `text`. Bytes that are not UTF-8 read as U+FFFD. add_special: with what the post-processor adds (bos, [CLS] ...). Added
  // tokens spelled in the text become their ids either way. Fails when a pattern's effort limit is hit, or for an unknown character
  // where the model has no unk token and cannot spell bytes.
  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special) const;

  // Text of `ids`, always well-formed UTF-8. skip_special leaves special tokens out. Errors: an id outside of the vocabulary, or
  // one that has no token.
  Result<std::string> Decode(std::span<const int32_t> ids, bool skip_special) const;

  // One more than the highest id; some ids below may have no token.
  int32_t vocab_size() const;
  // The token as it is written in the vocabulary ("\u0120the"), empty for an id without a token.
  const std::string& TokenText(int32_t id) const;
  bool HasToken(int32_t id) const;
  // Id of the token written so, or -1.
  int32_t FindToken(std::string_view text) const;
  bool IsSpecial(int32_t id) const;
  const std::vector<AddedToken>& added_tokens() const { return added_; }

  // -1 when unknown.
  int32_t bos_id() const { return bos_id_; }
  // Ids that end a generation; the first is the tokenizer's own eos. May be empty.
  const std::vector<int32_t>& eos_ids() const { return eos_ids_; }
  // Whether Encode(add_special) begins with bos_id().
  bool adds_bos() const { return bos_id_ >= 0 && !post_.before.empty() && post_.before.front() == bos_id_; }

  // What Encode(add_special) puts before and behind the ids of a text.
  const std::vector<int32_t>& ids_before() const { return post_.before; }
  const std::vector<int32_t>& ids_behind() const { return post_.after; }

  // What a tokenizer is made of; for the loaders.
  struct Parts {
    std::unique_ptr<Normalizer> normalizer;       // may be null
    std::unique_ptr<PreTokenizer> pre_tokenizer;  // may be null: a whole text is one word
    std::unique_ptr<TokenModel> model;
    std::unique_ptr<TokenDecoder> decoder;  // may be null: tokens joined by spaces
    PostProcessor post;
    std::vector<AddedToken> added;
    int32_t bos_id = -1;
    std::vector<int32_t> eos_ids;

    // The id of an added token or of one in the vocabulary; -1 if it is neither.
    int32_t Find(const std::string& text) const;
  };
  // Checks that added tokens and the post-processor fit the vocabulary.
  static Result<std::unique_ptr<Tokenizer>> Make(Parts parts, const std::string& where);

 private:
  Tokenizer() = default;
  Status EncodeText(std::string_view text, bool at_start, class WordCache& cache, std::vector<int32_t>& ids) const;
  Status EncodeWords(std::string_view text, bool at_start, class WordCache& cache, std::vector<int32_t>& ids) const;
  Status CheckIds(const std::string& where) const;

  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  std::unique_ptr<TokenModel> model_;
  std::unique_ptr<TokenDecoder> decoder_;
  PostProcessor post_;
  std::vector<AddedToken> added_;
  std::unordered_map<int32_t, size_t> added_by_id_;
  std::unordered_map<std::string, int32_t> added_by_text_;
  AddedTokenFinder raw_finder_, normalized_finder_;
  int32_t bos_id_ = -1;
  int32_t vocab_size_ = 0;
  std::vector<int32_t> eos_ids_;
};

}  // namespace nibble
