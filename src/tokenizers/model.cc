// SPDX-License-Identifier: Apache-2.0
// Reads the "model" object of tokenizer.json.
#include "tokenizers/model.h"

#include "base/log.h"
#include "tokenizers/bpe.h"
#include "tokenizers/unigram.h"
#include "tokenizers/word_level.h"
#include "tokenizers/word_piece.h"

namespace nibble {
namespace {

using MadeModel = Result<std::unique_ptr<TokenModel>>;

Result<Vocabulary> ReadVocabulary(const Json& spec, const std::string& where) {
  const Json* vocab = JsonFind(spec, "vocab");
  if (!vocab || !vocab->is_object()) return Corrupt("{}: \"vocab\" must be an object of token: id", where);
  std::vector<std::pair<std::string, int32_t>> tokens;
  tokens.reserve(vocab->size());
  for (const auto& [text, id] : vocab->items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= INT32_MAX) {
      return Corrupt("{}: id of token \"{}\" must be an integer from 0 to 2^31-2", where, text);
    }
    tokens.emplace_back(text, id.get<int32_t>());
  }
  return Vocabulary::Make(std::move(tokens), where + ".vocab");
}

// A merge is "left right" or ["left", "right"]. A text merge is cut at the first space behind its first byte.
Result<BpeMerge> ReadMerge(const Json& merge, const std::string& where, size_t number) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return BpeMerge(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ', 1);
    if (!text.empty() && space != text.npos && space + 1 < text.size())
      return BpeMerge(text.substr(0, space), text.substr(space + 1));
  }
  return Corrupt("{}.merges[{}]: wanted \"left right\" or [\"left\", \"right\"]", where, number);
}

MadeModel ReadBpe(const Json& spec, const std::string& where) {
  BpeOptions options;
  NIBBLE_TRY_IN(where, const double dropout, JsonNumber(spec, "dropout", 0.0));
  if (dropout != 0) Warn("{}: dropout {} is for training and is not applied", where, dropout);
  NIBBLE_TRY_IN(where, options.unk_token, JsonString(spec, "unk_token", ""));
  NIBBLE_TRY_IN(where, options.continuing_subword_prefix, JsonString(spec, "continuing_subword_prefix", ""));
  NIBBLE_TRY_IN(where, options.end_of_word_suffix, JsonString(spec, "end_of_word_suffix", ""));
  NIBBLE_TRY_IN(where, options.fuse_unk, JsonBool(spec, "fuse_unk", false));
  NIBBLE_TRY_IN(where, options.byte_fallback, JsonBool(spec, "byte_fallback", false));
  NIBBLE_TRY_IN(where, options.ignore_merges, JsonBool(spec, "ignore_merges", false));
  NIBBLE_TRY(auto vocabulary, ReadVocabulary(spec, where));
  const Json* list = JsonFind(spec, "merges");
  if (!list || !list->is_array()) return Corrupt("{}: BPE needs the array \"merges\"", where);
  std::vector<BpeMerge> merges;
  merges.reserve(list->size());
  for (const Json& item : *list) {
    NIBBLE_TRY(auto merge, ReadMerge(item, where, merges.size()));
    merges.push_back(std::move(merge));
  }
  return BpeModel::Make(std::move(vocabulary), merges, std::move(options), where);
}

MadeModel ReadWordPiece(const Json& spec, const std::string& where) {
  WordPieceOptions options;
  NIBBLE_TRY_IN(where, options.unk_token, JsonString(spec, "unk_token", "[UNK]"));
  NIBBLE_TRY_IN(where, options.continuing_subword_prefix, JsonString(spec, "continuing_subword_prefix", "##"));
  NIBBLE_TRY_IN(where, options.max_chars_per_word, JsonInt(spec, "max_input_chars_per_word", 100));
  NIBBLE_TRY(auto vocabulary, ReadVocabulary(spec, where));
  return WordPieceModel::Make(std::move(vocabulary), std::move(options), where);
}

MadeModel ReadUnigram(const Json& spec, const std::string& where) {
  const Json* vocab = JsonFind(spec, "vocab");
  if (!vocab || !vocab->is_array()) return Corrupt("{}: Unigram needs the array \"vocab\" of [token, score]", where);
  std::vector<std::pair<std::string, int32_t>> tokens;
  std::vector<double> scores;
  for (const Json& item : *vocab) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number()) {
      return Corrupt("{}.vocab[{}]: wanted [token, score]", where, scores.size());
    }
    tokens.emplace_back(item[0].get<std::string>(), static_cast<int32_t>(scores.size()));
    scores.push_back(item[1].get<double>());
  }
  NIBBLE_TRY_IN(where, const int64_t unk_id, JsonInt(spec, "unk_id", -1));
  NIBBLE_TRY_IN(where, const bool byte_fallback, JsonBool(spec, "byte_fallback", false));
  if (unk_id < -1 || unk_id >= static_cast<int64_t>(scores.size())) {
    return Corrupt("{}: unk_id {} is outside of the vocabulary of {}", where, unk_id, scores.size());
  }
  NIBBLE_TRY(auto vocabulary, Vocabulary::Make(std::move(tokens), where + ".vocab"));
  return UnigramModel::Make(std::move(vocabulary), std::move(scores),
                            {.unk_id = static_cast<int32_t>(unk_id), .byte_fallback = byte_fallback}, where);
}

// Files of before 2021 leave the type out.
std::string GuessType(const Json& spec) {
  if (JsonFind(spec, "merges")) return "BPE";
  if (const Json* vocab = JsonFind(spec, "vocab"); vocab && vocab->is_array()) return "Unigram";
  return "WordPiece";
}

}  // namespace

MadeModel ParseTokenModel(const Json& spec, const std::string& where) {
  if (!spec.is_object()) return Corrupt("{}: wanted an object", where);
  NIBBLE_TRY_IN(where, const std::string type, JsonString(spec, "type", GuessType(spec)));
  if (type == "BPE") return ReadBpe(spec, where);
  if (type == "WordPiece") return ReadWordPiece(spec, where);
  if (type == "WordLevel") {
    NIBBLE_TRY_IN(where, const auto unk_token, JsonString(spec, "unk_token", "<unk>"));
    NIBBLE_TRY(auto vocabulary, ReadVocabulary(spec, where));
    return std::make_unique<WordLevelModel>(std::move(vocabulary), unk_token);
  }
  if (type == "Unigram") return ReadUnigram(spec, where);
  return Unsupported("{}: token model \"{}\"; known are BPE WordPiece WordLevel Unigram", where, type);
}

}  // namespace nibble
