// SPDX-License-Identifier: Apache-2.0
// Builds a Tokenizer from the vocabulary of a GGUF file. The components are those of tokenizer.json, described as their JSON.
#include <algorithm>

#include "tokenizers/bpe.h"
#include "tokenizers/gguf_pre.h"
#include "tokenizers/score_bpe.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

constexpr std::string_view kSpace = "\u2581";  // how SentencePiece writes a space

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

void AddBosEos(const GgufVocab& vocab, bool add_bos, bool add_eos, int32_t default_eos, Tokenizer::Parts& parts) {
  if (vocab.add_bos.value_or(add_bos) && parts.bos_id >= 0) parts.post.before.push_back(parts.bos_id);
  const int32_t eos = IdOr(vocab.eos_id, default_eos, vocab);
  if (vocab.add_eos.value_or(add_eos) && eos >= 0) parts.post.after.push_back(eos);
}

using Made = Result<Tokenizer::Parts>;

// "llama": SentencePiece BPE by scores. Ids that the format fixes when the file does not give them: unk 0, bos 1, eos 2.
Made SentencePieceParts(const GgufVocab& vocab, const std::string& where) {
  Tokenizer::Parts parts;
  const bool prefix = vocab.add_space_prefix.value_or(true);
  Json normalizers = Json::array();
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}});
  NIBBLE_TRY(parts.normalizer, ParseNormalizer({{"type", "Sequence"}, {"normalizers", normalizers}}, where));
  Json decoders = Json::array(
      {{{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}}, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  NIBBLE_TRY(parts.decoder, ParseDecoder({{"type", "Sequence"}, {"decoders", decoders}}, where));
  NIBBLE_TRY(auto vocabulary, MakeVocabulary(vocab, where));
  NIBBLE_TRY(parts.model, ScoreBpeModel::Make(std::move(vocabulary), vocab.scores, IdOr(vocab.unk_id, 0, vocab), where));
  parts.bos_id = IdOr(vocab.bos_id, 1, vocab);
  AddTokens(vocab, parts);
  AddEnds(vocab, 2, parts);
  AddBosEos(vocab, true, false, 2, parts);
  return parts;
}

// "gpt2": byte-level BPE with merges, split as the named pre-tokenizer does.
Made ByteLevelParts(const GgufVocab& vocab, const std::string& where) {
  Tokenizer::Parts parts;
  const GgufPreTokenizer* pre = FindGgufPreTokenizer(vocab.pre.empty() ? "default" : vocab.pre);
  if (!pre) return Unsupported("{}: tokenizer.ggml.pre \"{}\"; known are {}", where, vocab.pre, GgufPreTokenizerNames());
  Json steps = Json::array();
  for (const auto pattern : pre->patterns) {
    steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}});
  }
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", vocab.add_space_prefix.value_or(false)}, {"use_regex", false}});
  NIBBLE_TRY(parts.pre_tokenizer, ParsePreTokenizer({{"type", "Sequence"}, {"pretokenizers", steps}}, where));
  NIBBLE_TRY(parts.decoder, ParseDecoder({{"type", "ByteLevel"}}, where));
  NIBBLE_TRY(auto vocabulary, MakeVocabulary(vocab, where));
  std::vector<BpeMerge> merges;
  for (const std::string& merge : vocab.merges) {
    const size_t space = merge.find(' ', 1);
    if (merge.empty() || space == merge.npos)
      return Corrupt("{}: merge {} is \"{}\", wanted \"left right\"", where, merges.size(), merge);
    merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  BpeOptions options;
  options.ignore_merges = pre->ignore_merges;
  NIBBLE_TRY(parts.model, BpeModel::Make(std::move(vocabulary), merges, std::move(options), where));
  parts.bos_id = IdOr(vocab.bos_id, 11, vocab);
  AddTokens(vocab, parts);
  AddEnds(vocab, 11, parts);
  AddBosEos(vocab, pre->add_bos, false, 11, parts);
  return parts;
}

struct Kind {
  std::string_view name;
  Made (*make)(const GgufVocab&, const std::string&);
};
constexpr Kind kKinds[] = {
    {"llama", SentencePieceParts},
    {"gpt2", ByteLevelParts},
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromGgufVocab(const GgufVocab& vocab, const std::string& where) {
  if (vocab.tokens.empty()) return Corrupt("{}: no tokens in tokenizer.ggml.tokens", where);
  if (vocab.tokens.size() > (size_t{1} << 24)) return Corrupt("{}: {} tokens, at most 2^24", where, vocab.tokens.size());
  for (const Kind& kind : kKinds) {
    if (kind.name != vocab.model) continue;
    NIBBLE_TRY(Parts parts, kind.make(vocab, where));
    return Make(std::move(parts), where);
  }
  return Unsupported("{}: tokenizer.ggml.model \"{}\"; known are \"llama\" (SentencePiece) and \"gpt2\" (byte-level BPE)", where,
                     vocab.model);
}

}  // namespace nibble
