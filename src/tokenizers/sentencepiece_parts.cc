// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/sentencepiece_parts.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tokenizers/charsmap.h"
#include "tokenizers/score_bpe.h"
#include "tokenizers/unicode.h"
#include "tokenizers/unigram.h"

namespace nibble {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Replacements, then white space: runs become one, ends go, spaces become kPieceSpace. User-defined pieces stay as they are.
class SentencePieceNormalizer : public Normalizer {
 public:
  SentencePieceNormalizer(const SentencePieceFile& file, Charsmap map, AddedTokenFinder kept, bool prefix)
      : map_(std::move(map)),
        kept_(std::move(kept)),
        space_(file.escape_whitespaces ? unicode::kPieceSpace : " "),
        collapse_(file.remove_extra_whitespaces),
        prefix_(prefix && !file.whitespace_as_suffix),
        suffix_(prefix && file.whitespace_as_suffix) {}

  Result<std::string> Apply(std::string text) const override {
    std::vector<TextPart> parts;
    kept_.Split(text, parts);
    std::string plain;
    for (const TextPart& part : parts) {
      const std::string_view piece = std::string_view(text).substr(part.begin, part.end - part.begin);
      if (part.id >= 0)
        plain += piece;
      else
        plain += map_.ReplaceLongest(piece);
    }
    std::string out;
    bool after_space = collapse_;
    for (const char c : plain) {
      if (c != ' ')
        out += c;
      else if (!after_space)
        out += space_;
      after_space = collapse_ && c == ' ';
    }
    while (collapse_ && out.ends_with(space_)) out.resize(out.size() - space_.size());
    if (out.empty()) return out;
    if (prefix_) out.insert(0, space_);
    if (suffix_) out += space_;
    return out;
  }

 private:
  Charsmap map_;
  AddedTokenFinder kept_;
  std::string space_;
  bool collapse_, prefix_, suffix_;
};

std::vector<AddedToken> UserDefined(const SentencePieceFile& file) {
  std::vector<AddedToken> tokens;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    if (file.types[id] == SentencePieceFile::kUserDefined)
      tokens.push_back({.id = static_cast<int32_t>(id), .content = file.pieces[id]});
  }
  return tokens;
}

// Scores as the search takes them: pieces that text never becomes get kNever, user-defined ones a score that wins.
std::vector<float> SearchScores(const SentencePieceFile& file, float& lowest) {
  float highest = std::numeric_limits<float>::min();  // SentencePiece begins with this too: no score of its own is above 0
  lowest = -kNever;
  for (size_t id = 0; id < file.scores.size(); ++id) {
    if (file.types[id] != SentencePieceFile::kNormal) continue;
    highest = std::max(highest, file.scores[id]);
    lowest = std::min(lowest, file.scores[id]);
  }
  std::vector<float> scores = file.scores;
  for (size_t id = 0; id < scores.size(); ++id) {
    const int32_t type = file.types[id];
    if (type == SentencePieceFile::kUserDefined)
      scores[id] = static_cast<float>(static_cast<double>(static_cast<float>(file.pieces[id].size()) * highest) - 0.1);
    else if (type != SentencePieceFile::kNormal)
      scores[id] = kNever;
  }
  return scores;
}

Result<std::unique_ptr<TokenModel>> MakeSentencePieceModel(const SentencePieceFile& file, const std::string& where) {
  std::vector<std::pair<std::string, int32_t>> tokens;
  std::unordered_map<std::string_view, int32_t> seen;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const auto number = static_cast<int32_t>(id);
    const bool usable = !file.pieces[id].empty() && seen.emplace(file.pieces[id], number).second;
    tokens.emplace_back(usable ? file.pieces[id] : fmt::format("[UNUSABLE_{}]", id), number);
  }
  NIBBLE_TRY(auto vocabulary, Vocabulary::Make(std::move(tokens), where));
  float lowest = 0;
  std::vector<float> scores = SearchScores(file, lowest);
  if (!file.unigram) {
    ScoreBpeOptions options = {.unk_id = file.unk_id, .fuse_unk = true, .byte_fallback = file.byte_fallback};
    options.whole = UserDefined(file);
    return ScoreBpeModel::Make(std::move(vocabulary), std::move(scores), std::move(options), where);
  }
  UnigramOptions options = {.unk_id = file.unk_id, .byte_fallback = file.byte_fallback, .single_precision = true};
  options.unk_score = static_cast<double>(lowest) - UnigramModel::kUnkPenalty;
  return UnigramModel::Make(std::move(vocabulary), std::vector<double>(scores.begin(), scores.end()), options, where);
}

Json DecoderJson(const SentencePieceFile& file) {
  Json decoders = Json::array({{{"type", "Replace"}, {"pattern", {{"String", unicode::kPieceSpace}}}, {"content", " "}},
                               {{"type", "ByteFallback"}},
                               {{"type", "Fuse"}}});
  // Where runs of spaces were taken out, none at the start was the text's own.
  const int64_t start = file.remove_extra_whitespaces ? INT32_MAX : file.add_dummy_prefix ? 1 : 0;
  if (start > 0) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", start}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", decoders}};
}

}  // namespace

Result<Tokenizer::Parts> MakeSentencePieceParts(const SentencePieceFile& file, bool prefix_each_part, const std::string& where) {
  Tokenizer::Parts parts;
  NIBBLE_TRY(auto map, Charsmap::Make(file.charsmap, where));
  NIBBLE_TRY(auto kept, AddedTokenFinder::Make(UserDefined(file), where));
  const bool first_only = file.add_dummy_prefix && !prefix_each_part && !file.whitespace_as_suffix;
  parts.normalizer =
      std::make_unique<SentencePieceNormalizer>(file, std::move(map), std::move(kept), file.add_dummy_prefix && !first_only);
  if (first_only) {
    const Json metaspace = {
        {"type", "Metaspace"}, {"replacement", unicode::kPieceSpace}, {"prepend_scheme", "first"}, {"split", false}};
    NIBBLE_TRY(parts.pre_tokenizer, ParsePreTokenizer(metaspace, where));
  }
  NIBBLE_TRY(parts.decoder, ParseDecoder(DecoderJson(file), where));
  NIBBLE_TRY(parts.model, MakeSentencePieceModel(file, where));
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const int32_t type = file.types[id];
    const bool shown = type == SentencePieceFile::kControl || type == SentencePieceFile::kUnknown;
    if (shown && !file.pieces[id].empty())
      parts.added.push_back({.id = static_cast<int32_t>(id), .content = file.pieces[id], .special = true});
  }
  parts.bos_id = file.bos_id;
  return parts;
}

}  // namespace nibble
