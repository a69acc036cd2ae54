// SPDX-License-Identifier: Apache-2.0
// Builds a Tokenizer from the vocabulary of a GGUF file. The components are those of tokenizer.json, described as their JSON.
#include <algorithm>

#include "tokenizers/bpe.h"
#include "tokenizers/gguf_components.h"
#include "tokenizers/score_bpe.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

int32_t TypeOf(const GgufVocab& vocab, size_t id) { return id < vocab.token_types.size() ? vocab.token_types[id] : kNormal; }

int32_t IdOr(const std::optional<int64_t>& id, int64_t fallback, const GgufVocab& vocab) {
  const int64_t value = id.value_or(fallback);
  return value >= 0 && value < static_cast<int64_t>(vocab.tokens.size()) ? static_cast<int32_t>(value) : -1;
}

// Of tokens with the same text the first is the one that text becomes; files made by older tools have such duplicates.
Result<Vocabulary> MakeVocabulary(const GgufVocab& vocab, const std::string& where) {
  std::vector<std::pair<std::string, int32_t>> tokens;
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    const std::string& text = vocab.tokens[id];
    const bool usable = !text.empty() && seen.emplace(text, id).second;
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
void AddEnds(const GgufVocab& vocab, int32_t default_eos, Tokenizer::Parts& parts) {
  const auto add = [&](int32_t id) {
    if (id >= 0 && std::find(parts.eos_ids.begin(), parts.eos_ids.end(), id) == parts.eos_ids.end()) parts.eos_ids.push_back(id);
  };
  add(IdOr(vocab.eos_id, default_eos, vocab));
  add(IdOr(vocab.eot_id, -1, vocab));
  add(IdOr(vocab.eom_id, -1, vocab));
  if (vocab.eot_id) return;
  for (const std::string_view text :
       {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>"}) {
    const int32_t id = parts.model->vocabulary().Find(text);
    if (id >= 0 && TypeOf(vocab, static_cast<size_t>(id)) == kControl) add(id);
  }
}

void AddBosEos(const GgufVocab& vocab, const GgufComponents& components, Tokenizer::Parts& parts) {
  if (components.add_bos && parts.bos_id >= 0) parts.post.before.push_back(parts.bos_id);
  const int32_t eos = IdOr(vocab.eos_id, components.default_eos, vocab);
  if (components.add_eos && eos >= 0) parts.post.after.push_back(eos);
}

Result<std::unique_ptr<TokenModel>> MakeModel(const GgufVocab& vocab, const GgufComponents& components, const std::string& where) {
  NIBBLE_TRY(auto vocabulary, MakeVocabulary(vocab, where));
  if (!components.byte_level)
    return ScoreBpeModel::Make(std::move(vocabulary), vocab.scores, {.unk_id = IdOr(vocab.unk_id, 0, vocab)}, where);
  NIBBLE_TRY(const std::vector<BpeMerge> merges, SplitGgufMerges(vocab, where));
  BpeOptions options;
  options.ignore_merges = components.ignore_merges;
  return BpeModel::Make(std::move(vocabulary), merges, std::move(options), where);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromGgufVocab(const GgufVocab& vocab, const std::string& where) {
  if (vocab.tokens.empty()) return Corrupt("{}: no tokens in tokenizer.ggml.tokens", where);
  if (vocab.tokens.size() > (size_t{1} << 24)) return Corrupt("{}: {} tokens, at most 2^24", where, vocab.tokens.size());
  NIBBLE_TRY(const GgufComponents components, DescribeGgufComponents(vocab, where));
  Parts parts;
  if (!components.normalizer.is_null()) {
    NIBBLE_TRY(parts.normalizer, ParseNormalizer(components.normalizer, where));
  }
  if (!components.pre_tokenizer.is_null()) {
    NIBBLE_TRY(parts.pre_tokenizer, ParsePreTokenizer(components.pre_tokenizer, where));
  }
  NIBBLE_TRY(parts.decoder, ParseDecoder(components.decoder, where));
  NIBBLE_TRY(parts.model, MakeModel(vocab, components, where));
  parts.bos_id = IdOr(vocab.bos_id, components.default_bos, vocab);
  AddTokens(vocab, parts);
  AddEnds(vocab, static_cast<int32_t>(components.default_eos), parts);
  AddBosEos(vocab, components, parts);
  return Make(std::move(parts), where);
}

}  // namespace nibble
