// SPDX-License-Identifier: Apache-2.0
// Builds a Tokenizer from the vocabulary of a GGUF file. The components are those of tokenizer.json, described as their JSON.
#include <algorithm>

#include "tokenizers/bpe.h"
#include "tokenizers/gguf_components.h"
#include "tokenizers/score_bpe.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/sentencepiece_parts.h"
#include "tokenizers/unicode.h"
#include "tokenizers/word_piece.h"

namespace nibble {
namespace {

constexpr int64_t kMaxWordChars = 1000;  // llama.cpp has no limit, but the search is quadratic

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

int32_t TypeOf(const GgufVocab& vocab, size_t id) { return id < vocab.token_types.size() ? vocab.token_types[id] : kNormal; }

int32_t IdOr(const std::optional<int64_t>& id, int64_t fallback, const GgufVocab& vocab) {
  const int64_t value = id.value_or(fallback);
  return value >= 0 && value < static_cast<int64_t>(vocab.tokens.size()) ? static_cast<int32_t>(value) : -1;
}

// llama.cpp marks where a word begins, tokenizer.json where it goes on.
std::string WordPieceText(const std::string& text) {
  constexpr std::string_view kWordStart = "\u2581";
  return text.starts_with(kWordStart) ? text.substr(kWordStart.size()) : "##" + text;
}

// Of tokens with the same text the first is the one that text becomes; files made by older tools have such duplicates.
Result<Vocabulary> MakeVocabulary(const GgufVocab& vocab, bool word_piece, const std::string& where) {
  std::vector<std::pair<std::string, int32_t>> tokens;
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    const std::string& text = vocab.tokens[id];
    const bool usable = !text.empty() && seen.emplace(text, id).second;
    if (usable && word_piece && TypeOf(vocab, id) == kNormal) {
      tokens.emplace_back(WordPieceText(text), static_cast<int32_t>(id));
      continue;
    }
    tokens.emplace_back(usable ? text : fmt::format("[{}_{}]", text.empty() ? "EMPTY" : "DUPLICATE", id), static_cast<int32_t>(id));
  }
  return Vocabulary::Make(std::move(tokens), where + ": tokenizer.ggml.tokens");
}

void AddTokens(const GgufVocab& vocab, Tokenizer::Parts& parts) {
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    const int32_t type = TypeOf(vocab, id);
    if (type != kControl && type != kUserDefined && type != kUnknown) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(id);
    token.content = vocab.tokens[id];
    token.special = type != kUserDefined;
    parts.added.push_back(std::move(token));
  }
}

// Ends of a turn: the ids that the file names, and the texts by which converters know them when it names none.
void AddGgufEnds(const GgufVocab& vocab, int32_t default_eos, Tokenizer::Parts& parts) {
  const auto add = [&](int32_t id) {
    if (id >= 0 && std::find(parts.eos_ids.begin(), parts.eos_ids.end(), id) == parts.eos_ids.end()) parts.eos_ids.push_back(id);
  };
  add(IdOr(vocab.eos_id, default_eos, vocab));
  add(IdOr(vocab.eot_id, -1, vocab));
  add(IdOr(vocab.eom_id, -1, vocab));
  if (vocab.eot_id) return;
  for (const std::string_view text :
       {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<turn|>", "<|endoftext|>", "<|end_of_text|>", "<EOT>"}) {
    const int32_t id = parts.model->vocabulary().Find(text);
    if (id >= 0 && TypeOf(vocab, static_cast<size_t>(id)) == kControl) add(id);
  }
}

void AddBosEos(const GgufVocab& vocab, const GgufComponents& components, Tokenizer::Parts& parts) {
  if (components.add_bos && parts.bos_id >= 0) parts.post.before.push_back(parts.bos_id);
  const bool word_piece = components.kind == GgufComponents::kWordPiece;
  const int32_t eos = IdOr(word_piece && vocab.sep_id ? vocab.sep_id : vocab.eos_id, components.default_eos, vocab);
  if (components.add_eos && eos >= 0) parts.post.after.push_back(eos);
}

Result<std::unique_ptr<TokenModel>> MakeGgufModel(const GgufVocab& vocab, const GgufComponents& components,
                                                  const std::string& where) {
  NIBBLE_TRY(auto vocabulary, MakeVocabulary(vocab, components.kind == GgufComponents::kWordPiece, where));
  if (components.kind == GgufComponents::kWordPiece) {
    WordPieceOptions options{.max_chars_per_word = kMaxWordChars};
    if (vocab.unk_id) options.unk_token = vocab.tokens[static_cast<size_t>(*vocab.unk_id)];
    return WordPieceModel::Make(std::move(vocabulary), std::move(options), where);
  }
  if (components.kind == GgufComponents::kScores)
    return ScoreBpeModel::Make(std::move(vocabulary), vocab.scores, {.unk_id = IdOr(vocab.unk_id, 0, vocab)}, where);
  NIBBLE_TRY(const std::vector<BpeMerge> merges, SplitGgufMerges(vocab, where));
  BpeOptions options;
  options.ignore_merges = components.ignore_merges;
  options.byte_fallback = components.byte_fallback;
  return BpeModel::Make(std::move(vocabulary), merges, std::move(options), where);
}

// "t5": SentencePiece's unigram with its table of replacements.
Result<Tokenizer::Parts> UnigramParts(const GgufVocab& vocab, const std::string& where) {
  if (vocab.scores.empty()) return Corrupt("{}: tokenizer.ggml.model \"t5\" needs tokenizer.ggml.scores", where);
  SentencePieceFile file;
  file.pieces = vocab.tokens;
  file.scores = vocab.scores;
  for (size_t id = 0; id < vocab.tokens.size(); ++id) file.types.push_back(TypeOf(vocab, id));
  file.charsmap = vocab.charsmap;
  file.add_dummy_prefix = vocab.add_space_prefix.value_or(true);
  file.remove_extra_whitespaces = vocab.remove_extra_whitespaces.value_or(true);
  file.unk_id = IdOr(vocab.unk_id, 2, vocab);
  file.bos_id = IdOr(vocab.bos_id, -1, vocab);
  NIBBLE_TRY(Tokenizer::Parts parts, MakeSentencePieceParts(file, true, where));
  const int32_t eos = IdOr(vocab.eos_id, 1, vocab);
  if (vocab.add_bos.value_or(false) && parts.bos_id >= 0) parts.post.before.push_back(parts.bos_id);
  if (vocab.add_eos.value_or(true) && eos >= 0) parts.post.after.push_back(eos);
  AddGgufEnds(vocab, 1, parts);
  return parts;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromGgufVocab(const GgufVocab& vocab, const std::string& where) {
  if (vocab.tokens.empty()) return Corrupt("{}: no tokens in tokenizer.ggml.tokens", where);
  if (vocab.tokens.size() > (size_t{1} << 24)) return Corrupt("{}: {} tokens, at most 2^24", where, vocab.tokens.size());
  Parts parts;
  if (vocab.model == "t5") {
    NIBBLE_TRY(parts, UnigramParts(vocab, where));
    return Make(std::move(parts), where);
  }
  NIBBLE_TRY(const GgufComponents components, DescribeGgufComponents(vocab, where));
  if (!components.normalizer.is_null()) {
    NIBBLE_TRY(parts.normalizer, ParseNormalizer(components.normalizer, where));
  }
  if (!components.pre_tokenizer.is_null()) {
    NIBBLE_TRY(parts.pre_tokenizer, ParsePreTokenizer(components.pre_tokenizer, where));
  }
  NIBBLE_TRY(parts.decoder, ParseDecoder(components.decoder, where));
  NIBBLE_TRY(parts.model, MakeGgufModel(vocab, components, where));
  const bool word_piece = components.kind == GgufComponents::kWordPiece;
  parts.bos_id = IdOr(word_piece && vocab.cls_id ? vocab.cls_id : vocab.bos_id, components.default_bos, vocab);
  AddTokens(vocab, parts);
  AddGgufEnds(vocab, static_cast<int32_t>(components.default_eos), parts);
  AddBosEos(vocab, components, parts);
  return Make(std::move(parts), where);
}

}  // namespace nibble
