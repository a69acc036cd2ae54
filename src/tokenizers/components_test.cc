// SPDX-License-Identifier: Apache-2.0
// The parts of a tokenizer one by one: normalizers, pre-tokenizers, models, added tokens, decoders.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tokenizers/added_tokens.h"
#include "tokenizers/bpe.h"
#include "tokenizers/byte_level.h"
#include "tokenizers/decoder.h"
#include "tokenizers/normalizer.h"
#include "tokenizers/pre_tokenizer.h"
#include "base/regex.h"
#include "tokenizers/score_bpe.h"
#include "tokenizers/sentencepiece_file.h"
#include "tokenizers/unicode.h"
#include "tokenizers/unigram.h"
#include "tokenizers/word_cache.h"

namespace nibble {
namespace {

using Strings = std::vector<std::string>;

std::string Normalized(const char* spec, const std::string& text) {
  const auto normalizer = ParseNormalizer(*ParseJson(spec, "test"), "test");
  return normalizer ? *(*normalizer)->Apply(text) : normalizer.error().ToString();
}

Strings Split(const std::string& spec, const std::string& text) {
  const auto made = ParsePreTokenizer(*ParseJson(spec, "test"), "test");
  if (!made) return {made.error().ToString()};
  Words words;
  words.text = text;
  words.ranges.push_back({0, text.size(), true});
  if (!(*made)->Apply(words)) return {"failed"};
  Strings out;
  for (const auto& range : words.ranges) out.emplace_back(words.Word(range));
  return out;
}

std::string Decoded(const char* spec, Strings pieces) {
  const auto decoder = ParseDecoder(*ParseJson(spec, "test"), "test");
  if (!decoder || !(*decoder)->Apply(pieces)) return "failed";
  std::string out;
  for (const auto& piece : pieces) out += piece + "|";
  return out;
}

std::vector<int32_t> Encode(const TokenModel& model, std::string_view word) {
  std::vector<int32_t> ids;
  EXPECT_TRUE(model.Encode(word, ids));
  return ids;
}

TEST(Unicode, ReplacesEachMaximalIllFormedPart) {
  EXPECT_EQ(unicode::Sanitize("a\xF0\x9F\x98"
                              "b"),
            "a\uFFFDb");                                                         // truncated: one
  EXPECT_EQ(unicode::Sanitize("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate: three
  EXPECT_EQ(unicode::Sanitize("\xC0\xAF"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(unicode::Sanitize("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // above U+10FFFF
  EXPECT_TRUE(unicode::IsValid("\xF4\x8F\xBF\xBF"));
}

TEST(Unicode, FindsIncompleteTails) {
  EXPECT_EQ(unicode::IncompleteTail("ab\xF0\x9F\x98"), 3u);
  EXPECT_EQ(unicode::IncompleteTail("ab\xE2\x82"), 2u);
  EXPECT_EQ(unicode::IncompleteTail("ab\xE2\x82\xAC"), 0u);
  EXPECT_EQ(unicode::IncompleteTail("ab\xFF"), 0u);
}

TEST(ByteLevel, EveryByteComesBack) {
  std::string bytes, text, back;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  AppendByteLevel(bytes, text);
  EXPECT_TRUE(unicode::IsValid(text));
  EXPECT_EQ(unicode::Length(text), 256u);
  AppendBytesOf(text, back);
  EXPECT_EQ(back, bytes);
  EXPECT_EQ(unicode::ToUtf8(ByteToChar(' ')), "\u0120");
}

TEST(Regex, HostilePatternEndsWithAnError) {
  const auto regex = Regex::Compile("(a+)+$", "test");
  ASSERT_TRUE(regex);
  const auto match = regex->Find(std::string(4000, 'a') + "b", 0);
  ASSERT_FALSE(match);
  EXPECT_EQ(match.error().code, Code::kResourceExhausted);
}

TEST(Regex, SaysWhereAPatternIsWrong) {
  const auto regex = Regex::Compile("a(b", "model.json");
  ASSERT_FALSE(regex);
  EXPECT_NE(regex.error().message.find("at byte 3"), std::string::npos) << regex.error().message;
}

TEST(Normalizer, EachTypeDoesItsPart) {
  EXPECT_EQ(Normalized(R"({"type":"NFC"})", "e\u0301"), "\u00e9");
  EXPECT_EQ(Normalized(R"({"type":"NFKC"})", "\ufb01"), "fi");
  EXPECT_EQ(Normalized(R"({"type":"Lowercase"})", "\u00c4B"), "\u00e4b");
  EXPECT_EQ(Normalized(R"({"type":"Strip","strip_left":true,"strip_right":false})", " \u3000a "), "a ");
  EXPECT_EQ(Normalized(R"({"type":"Prepend","prepend":"_"})", "a"), "_a");
  EXPECT_EQ(Normalized(R"({"type":"Prepend","prepend":"_"})", ""), "");
  EXPECT_EQ(Normalized(R"({"type":"Replace","pattern":{"Regex":"[0-9]+"},"content":"#"})", "a12b3"), "a#b#");
  EXPECT_EQ(Normalized(R"({"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"}]})", "\u00e9"), "e");
  EXPECT_EQ(Normalized(R"({"type":"BertNormalizer"})", "\u00c9\t\u4e2d"), "e  \u4e2d ");
  EXPECT_NE(Normalized(R"({"type":"Magic"})", "").find("\"Magic\""), std::string::npos);
}

TEST(Split, EveryBehavior) {
  const auto spec = [](const std::string& behavior) {
    return R"({"type":"Split","pattern":{"String":"-"},"behavior":")" + behavior + "\"}";
  };
  const std::string text = "the-final--countdown";
  EXPECT_EQ(Split(spec("Removed"), text), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(Split(spec("Isolated"), text), (Strings{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(Split(spec("MergedWithPrevious"), text), (Strings{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(Split(spec("MergedWithNext"), text), (Strings{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(Split(spec("Contiguous"), text), (Strings{"the", "-", "final", "--", "countdown"}));
}

TEST(PreTokenizer, EachTypeCutsItsPlaces) {
  EXPECT_EQ(Split(R"({"type":"ByteLevel","add_prefix_space":true})", "Hi you"), (Strings{"\u0120Hi", "\u0120you"}));
  EXPECT_EQ(Split(R"({"type":"Digits","individual_digits":true})", "a12"), (Strings{"a", "1", "2"}));
  EXPECT_EQ(Split(R"({"type":"Digits","individual_digits":false})", "a12"), (Strings{"a", "12"}));
  EXPECT_EQ(Split(R"({"type":"Punctuation"})", "a!?b"), (Strings{"a", "!", "?", "b"}));
  EXPECT_EQ(Split(R"({"type":"Whitespace"})", "a b!?"), (Strings{"a", "b", "!?"}));
  EXPECT_EQ(Split(R"({"type":"BertPreTokenizer"})", " a, b"), (Strings{"a", ",", "b"}));
  EXPECT_EQ(Split(R"({"type":"Metaspace"})", "a b"), (Strings{"\u2581a", "\u2581b"}));
  EXPECT_EQ(Split(R"({"type":"Metaspace","prepend_scheme":"never","split":false})", "a b"), (Strings{"a\u2581b"}));
  EXPECT_EQ(
      Split(R"({"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Metaspace","prepend_scheme":"first"}]})",
            "a b"),
      (Strings{"\u2581a", "b"}));
}

TEST(PreTokenizer, ScriptsLengthsAndWordCharacters) {
  const Strings scripts = {"ab ", "\u0430\u0431 ", "\u30ab\u30fc\u6f22", "1."};
  EXPECT_EQ(Split(R"({"type":"UnicodeScripts"})",
                  " ab \u0430\u0431 \u30ab\u30fc\u6f22"
                  "1."),
            scripts);
  EXPECT_EQ(Split(R"({"type":"FixedLength","length":2})", "a\u00e9b"), (Strings{"a\u00e9", "b"}));
  EXPECT_EQ(Split(R"({"type":"Whitespace"})", "e\u0301\u00bd"), (Strings{"e\u0301", "\u00bd"}));
  const char* words = R"({"type":"Split","pattern":{"Regex":"\\w+"},"behavior":"Removed","invert":true})";
  EXPECT_EQ(Split(words, "e\u0301\u00bd-\u2460"), (Strings{"e\u0301\u00bd"}));  // Oniguruma's \w
}

TEST(Normalizer, BrokenCharsmapsAreErrors) {
  EXPECT_NE(Normalized(R"({"type":"Precompiled","precompiled_charsmap":"!"})", "a").find("base64"), std::string::npos);
  EXPECT_NE(Normalized(R"({"type":"Precompiled","precompiled_charsmap":"/////w=="})", "a").find("trie"), std::string::npos);
  // One unit whose children would lie far outside.
  EXPECT_EQ(Normalized(R"({"type":"Precompiled","precompiled_charsmap":"BAAAAAD///8="})", "a"), "a");
}

TEST(SentencePieceFile, BrokenFilesAreErrors) {
  for (const std::string_view bytes :
       {std::string_view("\x0a\x7f", 2), std::string_view("\x0b", 1), std::string_view("\xff\xff", 2), std::string_view(),
        std::string_view("\x0a\x02\x0a\x05", 4)}) {
    const auto file = ReadSentencePieceFile(bytes, "t.model");
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().code, Code::kCorrupt);
  }
}

TEST(AddedTokens, LongestLeftmostWithStripsAndWords) {
  AddedToken plain{.id = 1, .content = "<a>"}, longer{.id = 2, .content = "<a>b"},
      strip{.id = 3, .content = "<s>", .lstrip = true, .rstrip = true};
  AddedToken word{.id = 4, .content = "cat", .single_word = true};
  const auto finder = AddedTokenFinder::Make({plain, longer, strip, word}, "test");
  ASSERT_TRUE(finder);
  const auto shown = [&](std::string_view text) {
    std::vector<TextPart> parts;
    finder->Split(text, parts);
    std::string out;
    for (const auto& part : parts) out += fmt::format("{}:{}|", part.id, text.substr(part.begin, part.end - part.begin));
    return out;
  };
  EXPECT_EQ(shown("x<a>by<a>"), "-1:x|2:<a>b|-1:y|1:<a>|");
  EXPECT_EQ(shown("x  <s> y"), "-1:x|3:  <s> |-1:y|");
  EXPECT_EQ(shown("cat concat"), "4:cat|-1: concat|");
}

TEST(Bpe, ShortAndLongWordsMergeAlike) {
  std::vector<std::pair<std::string, int32_t>> tokens = {{"a", 0}, {"b", 1}, {"ab", 2}, {"abab", 3}, {"ba", 4}};
  const std::vector<BpeMerge> merges = {{"a", "b"}, {"ab", "ab"}, {"b", "a"}};
  const auto model = BpeModel::Make(*Vocabulary::Make(tokens, "test"), merges, {}, "test");
  ASSERT_TRUE(model) << model.error().ToString();
  EXPECT_EQ(Encode(**model, "ababa"), (std::vector<int32_t>{3, 0}));
  std::string word;
  std::vector<int32_t> want;
  for (int i = 0; i < 40; ++i) word += "abab", want.push_back(3);  // 160 symbols: the heap
  EXPECT_EQ(Encode(**model, word), want);
}

TEST(Bpe, UnknownCharactersFuseOrSpellBytes) {
  BpeOptions options{.unk_token = "?", .fuse_unk = true};
  const auto fused = BpeModel::Make(*Vocabulary::Make({{"a", 0}, {"?", 1}}, "test"), {}, options, "test");
  EXPECT_EQ(Encode(**fused, "axya"), (std::vector<int32_t>{0, 1, 0}));
  options.byte_fallback = true;
  const auto spelled = BpeModel::Make(*Vocabulary::Make({{"a", 0}, {"?", 1}, {"<0x78>", 2}}, "test"), {}, options, "test");
  EXPECT_EQ(Encode(**spelled, "axy"), (std::vector<int32_t>{0, 2, 1}));
}

TEST(Bpe, MergeOfAnUnknownTokenIsAnError) {
  const auto model = BpeModel::Make(*Vocabulary::Make({{"a", 0}, {"b", 1}}, "test"), {{"a", "b"}}, {}, "test");
  ASSERT_FALSE(model);
  EXPECT_NE(model.error().message.find("\"ab\""), std::string::npos) << model.error().message;
}

TEST(Vocabulary, RefusesSharedIdsAndFarHoles) {
  EXPECT_FALSE(Vocabulary::Make({{"a", 0}, {"b", 0}}, "test"));
  EXPECT_FALSE(Vocabulary::Make({{"a", 2'000'000'000}}, "test"));
  const auto holes = Vocabulary::Make({{"a", 0}, {"b", 5}}, "test");
  ASSERT_TRUE(holes);
  EXPECT_TRUE(holes->Has(5) && !holes->Has(3) && !holes->Has(6) && !holes->Has(-1));
  EXPECT_EQ(holes->size(), 6);
}

TEST(Unigram, TakesTheBestSum) {
  const auto model = UnigramModel::Make(*Vocabulary::Make({{"<unk>", 0}, {"a", 1}, {"b", 2}, {"ab", 3}, {"abc", 4}}, "test"),
                                        {0, -1, -1, -1.5, -9}, {.unk_id = 0}, "test");
  EXPECT_EQ(Encode(**model, "ab"), (std::vector<int32_t>{3}));
  EXPECT_EQ(Encode(**model, "abc"), (std::vector<int32_t>{4}));
  EXPECT_EQ(Encode(**model, "axyb"), (std::vector<int32_t>{1, 0, 2}));
}

TEST(ScoreBpe, HighestScoreFirst) {
  const auto model =
      ScoreBpeModel::Make(*Vocabulary::Make({{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"bc", 4}, {"<0x78>", 5}}, "test"),
                          {0, 0, 0, -2, -1, 0}, {}, "test");
  EXPECT_EQ(Encode(**model, "abcx"), (std::vector<int32_t>{0, 4, 5}));
}

TEST(Decoder, EachTypeDoesItsPart) {
  EXPECT_EQ(Decoded(R"({"type":"ByteLevel"})", {"\u0120a", "\u00e2\u0124\u00ac"}), " a\u20ac|");
  EXPECT_EQ(Decoded(R"({"type":"ByteFallback"})", {"<0xE2>", "<0x82>", "<0xAC>", "a", "<0xFF>"}), "\u20ac|a|\uFFFD|");
  EXPECT_EQ(Decoded(R"({"type":"Strip","content":" ","start":1,"stop":0})", {"  a"}), " a|");
  EXPECT_EQ(Decoded(R"({"type":"Metaspace"})", {"\u2581a", "\u2581b"}), "a| b|");
  EXPECT_EQ(Decoded(R"({"type":"WordPiece"})", {"run", "##ning", "!"}), "run|ning|!|");
  EXPECT_EQ(Decoded(R"({"type":"CTC"})", {"h", "h", "<pad>", "i", "|", "i"}), "h|i| |i|");
  EXPECT_EQ(Decoded(R"({"type":"BPEDecoder","suffix":"</w>"})", {"a</w>", "b</w>"}), "a |b|");
}

TEST(WordCache, GivesBackWhatWasPut) {
  WordCache cache;
  for (int32_t i = 0; i < 5000; ++i) {
    const std::string word = "w" + std::to_string(i);
    cache.Insert(word, WordCache::Hash(word), std::vector<int32_t>{i, i + 1});
  }
  for (int32_t i = 0; i < 5000; ++i) {
    const std::string word = "w" + std::to_string(i);
    const auto ids = cache.Find(word, WordCache::Hash(word));
    ASSERT_EQ(ids.size(), 2u);
    EXPECT_EQ(ids[0], i);
  }
  EXPECT_TRUE(cache.Find("v", WordCache::Hash("v")).empty());
}

}  // namespace
}  // namespace nibble
