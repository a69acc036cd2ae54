// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/tiktoken.h"

#include <algorithm>
#include <charconv>

#include "tokenizers/base64.h"
#include "tokenizers/byte_level.h"
#include "tokenizers/score_bpe.h"

namespace nibble {
namespace {

constexpr int32_t kMaxRank = 1 << 24;  // ranks are scores in float
constexpr int32_t kLlama3Ranks = 128'000, kQwenRanks = 151'643, kReserved = 256;

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string PatternOf(const HubTokenizerConfig& config, int32_t ranks) {
  if (config.tokenizer_class.starts_with("QWen") || (config.tokenizer_class.empty() && ranks == kQwenRanks))
    return std::string(kQwenPattern);
  if (config.tokenizer_class == "TikTokenTokenizer") return KimiPattern();
  return std::string(kLlama3Pattern);
}

void AddNumbered(std::vector<std::string>& names, const char* pattern, int first, int count) {
  for (int i = 0; i < count; ++i) names.push_back(fmt::format(fmt::runtime(pattern), first + i));
}

// Texts of the ids behind the ranks, as the two families define them.
std::vector<std::string> KnownSpecials(int32_t ranks) {
  std::vector<std::string> names;
  if (ranks == kLlama3Ranks) {
    names = {"<|begin_of_text|>", "<|end_of_text|>"};
    AddNumbered(names, "<|reserved_special_token_{}|>", 0, 2);
    names.push_back("<|finetune_right_pad_id|>");
    AddNumbered(names, "<|reserved_special_token_{}|>", 2, 1);
    for (const char* name : {"<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"})
      names.emplace_back(name);
    AddNumbered(names, "<|reserved_special_token_{}|>", 3, kReserved - 11);
  }
  if (ranks == kQwenRanks) {
    names = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    AddNumbered(names, "<|extra_{}|>", 0, 205);
  }
  return names;
}

void AddSpecials(const HubTokenizerConfig& config, int32_t ranks, Tokenizer::Parts& parts) {
  parts.added = config.added_tokens;
  const std::vector<std::string> names = parts.added.empty() ? KnownSpecials(ranks) : std::vector<std::string>();
  for (size_t i = 0; i < names.size(); ++i)
    parts.added.push_back({.id = ranks + static_cast<int32_t>(i), .content = names[i], .special = true});
  if (!names.empty() && ranks == kLlama3Ranks) parts.bos_id = ranks;
  if (config.tokenizer_class != "TikTokenTokenizer") return;
  for (int32_t id = ranks; id < ranks + kReserved; ++id) {  // Kimi: each id that its config leaves out is reserved
    if (std::any_of(parts.added.begin(), parts.added.end(), [&](const AddedToken& token) { return token.id == id; })) continue;
    parts.added.push_back({.id = id, .content = fmt::format("<|reserved_token_{}|>", id), .special = true});
  }
}

}  // namespace

std::string KimiPattern() {
  const auto of = [](std::string_view cases) { return fmt::format(R"((?:(?!\p{{sc:Han}})[{}\p{{Lm}}\p{{Lo}}\p{{M}}]))", cases); };
  const std::string upper = of(R"(\p{Lu}\p{Lt})"), lower = of(R"(\p{Ll})");
  constexpr std::string_view kBefore = R"([^\r\n\p{L}\p{N}]?)", kBehind = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
  return fmt::format(R"([\p{{sc:Han}}]+|{0}{2}*{3}+{1}|{0}{2}+{3}*{1}|)", kBefore, kBehind, upper, lower) +
         R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

bool LooksLikeTiktoken(std::string_view bytes) {
  const size_t line = bytes.find('\n');
  const size_t space = bytes.substr(0, line).find(' ');
  if (line == bytes.npos || space == bytes.npos || space == 0) return false;
  const auto digits = bytes.substr(space + 1, line - space - 1);
  return DecodeBase64(bytes.substr(0, space)) && !digits.empty() && digits.find_first_not_of("0123456789\r") == digits.npos;
}

Result<Tokenizer::Parts> MakeTiktokenParts(std::string_view bytes, const HubTokenizerConfig& config, const std::string& where) {
  std::vector<std::pair<std::string, int32_t>> tokens;
  for (size_t at = 0, number = 1; at < bytes.size(); ++number) {
    const size_t end = std::min(bytes.find('\n', at), bytes.size());
    const std::string_view line = bytes.substr(at, end - at);
    at = end + 1;
    if (line.empty() || line == "\r") continue;
    const size_t space = std::min(line.find(' '), line.size());
    const auto token = DecodeBase64(line.substr(0, space));
    int32_t rank = -1;
    const char* first = line.data() + std::min(space + 1, line.size());
    const auto parsed = std::from_chars(first, line.data() + line.size(), rank);
    if (!token || token->empty() || parsed.ec != std::errc() || rank < 0 || rank >= kMaxRank)
      return Corrupt("{}: line {}: \"{}\", wanted base64 and a rank from 0 to {}", where, number, line.substr(0, 80), kMaxRank - 1);
    std::string text;
    AppendByteLevel(*token, text);
    tokens.emplace_back(std::move(text), rank);
  }
  Tokenizer::Parts parts;
  NIBBLE_TRY(auto vocabulary, Vocabulary::Make(std::move(tokens), where));
  const int32_t ranks = vocabulary.size();
  std::vector<float> scores(static_cast<size_t>(ranks));
  for (int32_t rank = 0; rank < ranks; ++rank) scores[static_cast<size_t>(rank)] = -static_cast<float>(rank);
  NIBBLE_TRY(parts.model,
             ScoreBpeModel::Make(std::move(vocabulary), std::move(scores), {.byte_fallback = false, .whole_words = true}, where));
  const Json split = {{"type", "Split"}, {"pattern", {{"Regex", PatternOf(config, ranks)}}}, {"behavior", "Isolated"}};
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  NIBBLE_TRY(parts.pre_tokenizer,
             ParsePreTokenizer({{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level})}}, where));
  NIBBLE_TRY(parts.decoder, ParseDecoder({{"type", "ByteLevel"}}, where));
  AddSpecials(config, ranks, parts);
  return parts;
}

}  // namespace nibble
