// SPDX-License-Identifier: Apache-2.0
// Text -> parts between added tokens -> normalized text -> words -> ids; and back through the decoder.
#include "tokenizers/tokenizer.h"

#include <algorithm>

#include "tokenizers/unicode.h"
#include "tokenizers/word_cache.h"

namespace nibble {

int32_t Tokenizer::Parts::Find(const std::string& text) const {
  for (const AddedToken& token : added) {
    if (token.content == text) return token.id;
  }
  return model->vocabulary().Find(text);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::Make(Parts parts, const std::string& where) {
  std::unique_ptr<Tokenizer> made(new Tokenizer);
  made->normalizer_ = std::move(parts.normalizer);
  made->pre_tokenizer_ = std::move(parts.pre_tokenizer);
  made->model_ = std::move(parts.model);
  made->decoder_ = std::move(parts.decoder);
  made->post_ = std::move(parts.post);
  made->added_ = std::move(parts.added);
  made->bos_id_ = parts.bos_id;
  made->eos_ids_ = std::move(parts.eos_ids);
  made->vocab_size_ = made->model_->vocabulary().size();
  std::vector<AddedToken> raw, normalized;
  for (size_t i = 0; i < made->added_.size(); ++i) {
    const AddedToken& token = made->added_[i];
    made->vocab_size_ = std::max(made->vocab_size_, token.id + 1);
    const auto [known, is_new] = made->added_by_id_.emplace(token.id, i);
    if (!is_new)
      return Corrupt("{}: id {} belongs to the added tokens \"{}\" and \"{}\"", where, token.id,
                     made->added_[known->second].content, token.content);
    made->added_by_text_.emplace(token.content, token.id);
    (token.normalized ? normalized : raw).push_back(token);
    if (!token.normalized || !made->normalizer_) continue;
    NIBBLE_TRY(normalized.back().content, made->normalizer_->Apply(unicode::Sanitize(token.content)));
  }
  NIBBLE_TRY(made->raw_finder_, AddedTokenFinder::Make(raw, where));
  NIBBLE_TRY(made->normalized_finder_, AddedTokenFinder::Make(normalized, where));
  NIBBLE_RETURN_IF_ERROR(made->CheckIds(where));
  return made;
}

Status Tokenizer::CheckIds(const std::string& where) const {
  const auto check = [&](const std::vector<int32_t>& ids) -> Status {
    for (const int32_t id : ids) {
      if (!HasToken(id)) return Corrupt("{}: the post-processor adds id {}, which has no token", where, id);
    }
    return {};
  };
  NIBBLE_RETURN_IF_ERROR(check(post_.before));
  return check(post_.after);
}

Status Tokenizer::EncodeWords(std::string_view text, bool at_start, WordCache& cache, std::vector<int32_t>& ids) const {
  Words words;
  words.text = std::string(text);
  words.ranges.push_back({0, text.size(), at_start});
  if (pre_tokenizer_) NIBBLE_RETURN_IF_ERROR(pre_tokenizer_->Apply(words));
  for (const auto& range : words.ranges) {
    const std::string_view word = words.Word(range);
    if (word.size() > WordCache::kMaxWordBytes) {
      NIBBLE_RETURN_IF_ERROR(model_->Encode(word, ids));
      continue;
    }
    const size_t hash = WordCache::Hash(word);
    const auto known = cache.Find(word, hash);
    if (!known.empty()) {
      ids.insert(ids.end(), known.begin(), known.end());
      continue;
    }
    const size_t start = ids.size();
    NIBBLE_RETURN_IF_ERROR(model_->Encode(word, ids));
    cache.Insert(word, hash, std::span(ids).subspan(start));
  }
  return {};
}

Status Tokenizer::EncodeText(std::string_view text, bool at_start, WordCache& cache, std::vector<int32_t>& ids) const {
  std::string normalized(text);
  if (normalizer_) {
    // A first character that the normalizer takes away leaves text that no longer stands at the start (prepend_scheme "first").
    size_t first = 0;
    if (at_start && !text.empty()) unicode::Next(text, first);
    NIBBLE_TRY(const std::string kept, normalizer_->Apply(std::string(text.substr(0, first))));
    at_start = at_start && !kept.empty();
    NIBBLE_TRY(normalized, normalizer_->Apply(std::move(normalized)));
  }
  std::vector<TextPart> parts;
  normalized_finder_.Split(normalized, parts);
  for (const TextPart& part : parts) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      NIBBLE_RETURN_IF_ERROR(EncodeWords(std::string_view(normalized).substr(part.begin, part.end - part.begin),
                                         at_start && part.begin == 0, cache, ids));
    }
  }
  return {};
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view text, bool add_special) const {
  std::string sanitized;
  if (!unicode::IsValid(text)) {
    sanitized = unicode::Sanitize(text);
    text = sanitized;
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + post_.before.size() + post_.after.size());
  if (add_special) ids = post_.before;
  std::vector<TextPart> parts;
  raw_finder_.Split(text, parts);
  WordCache cache;
  for (const TextPart& part : parts) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      NIBBLE_RETURN_IF_ERROR(EncodeText(text.substr(part.begin, part.end - part.begin), part.begin == 0, cache, ids));
    }
  }
  if (add_special) ids.insert(ids.end(), post_.after.begin(), post_.after.end());
  return ids;
}

Result<std::string> Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<std::string> pieces;
  pieces.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!HasToken(ids[i])) {
      return Fail(Code::kNotFound, "id {} (number {} of {}): {}", ids[i], i, ids.size(),
                  ids[i] < 0 || ids[i] >= vocab_size_ ? fmt::format("outside of the vocabulary of {}", vocab_size_)
                                                      : std::string("the vocabulary has no token there"));
    }
    if (!(skip_special && IsSpecial(ids[i]))) pieces.push_back(TokenText(ids[i]));
  }
  if (decoder_) NIBBLE_RETURN_IF_ERROR(decoder_->Apply(pieces));
  std::string text;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0 && !decoder_) text += ' ';
    text += pieces[i];
  }
  return unicode::IsValid(text) ? text : unicode::Sanitize(text);
}

int32_t Tokenizer::vocab_size() const { return vocab_size_; }

const std::string& Tokenizer::TokenText(int32_t id) const {
  const auto it = added_by_id_.find(id);
  return it != added_by_id_.end() ? added_[it->second].content : model_->vocabulary().Text(id);
}

bool Tokenizer::HasToken(int32_t id) const { return model_->vocabulary().Has(id) || added_by_id_.contains(id); }

int32_t Tokenizer::FindToken(std::string_view text) const {
  const auto it = added_by_text_.find(std::string(text));
  return it != added_by_text_.end() ? it->second : model_->vocabulary().Find(text);
}

bool Tokenizer::IsSpecial(int32_t id) const {
  const auto it = added_by_id_.find(id);
  return it != added_by_id_.end() && added_[it->second].special;
}

}  // namespace nibble
