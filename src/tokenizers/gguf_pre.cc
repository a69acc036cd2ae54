// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/gguf_pre.h"

#include "tokenizers/tiktoken.h"

namespace nibble {
namespace {

constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                     R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepSeekV3 =
    R"RE([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)RE";

// Llama 3's with runs of spaces cut at powers of two.
constexpr std::string_view kJais2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|)"
    R"(\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})";
constexpr std::string_view kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kExaoneMoe =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kBloom = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+";
constexpr std::string_view kHanAndKana = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+";
// Groups of three digits counted from the right.
constexpr std::string_view kThousands = R"(\d{1,3}(?=(?:\d{3})*\b))";

using Patterns = std::vector<std::string_view>;

// One row a name: models that share a pattern still name their own.
const std::vector<GgufPreTokenizer>& Table() {
  static const Patterns gpt2 = {kGpt2}, llama3 = {kLlama3}, qwen2 = {kQwen2}, gpt4o = {kGpt4o}, tekken = {kTekken};
  static const Patterns digits = {R"(\p{N})", kGpt2};
  static const Patterns deepseek3 = {R"(\p{N}{1,3})", kHanAndKana, kDeepSeekV3}, bailing = {kBailing}, bloom = {kBloom};
  static const Patterns thousands = {kThousands, kGpt4o};
  static const std::string kimi = KimiPattern();
  static const std::vector<GgufPreTokenizer> table = {
      {"default", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"}},
      {"llama-bpe", llama3, true, true},
      {"llama3", llama3, true, true},
      {"llama-v3", llama3, true, true},
      {"falcon3", llama3, true, true},
      {"falcon-h1", llama3, true, true},
      {"pixtral", llama3, true, true},
      {"midm-2.0", llama3, true, true},
      {"lfm2", llama3, true, true},
      {"dbrx", llama3},
      {"smaug-bpe", llama3},
      {"glm4", llama3},
      {"chatglm-bpe", llama3},
      {"qwen2", qwen2},
      {"deepseek-r1-qwen", qwen2},
      {"stablelm2", qwen2},
      {"hunyuan", qwen2},
      {"solar-open", qwen2},
      {"megrez", qwen2},
      {"qwen35", {kQwen35}},
      {"gpt-4o", gpt4o},
      {"llama4", gpt4o},
      {"kanana2", gpt4o},
      {"minimax-m2", gpt4o},
      {"tekken", tekken, true, true},
      {"gpt-2", gpt2},
      {"phi-2", gpt2},
      {"mpt", gpt2},
      {"olmo", gpt2},
      {"jais", gpt2},
      {"gigachat", gpt2},
      {"mellum", gpt2},
      {"starcoder", digits},
      {"refact", digits},
      {"command-r", digits},
      {"smollm", digits},
      {"codeshell", digits},
      {"exaone", digits},
      {"falcon", {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, "[0-9][0-9][0-9]"}},
      {"deepseek-coder", {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", R"(\p{N})"}},
      {"deepseek-v3", deepseek3},
      {"hunyuan-dense", deepseek3},
      {"joyai-llm", deepseek3},
      {"hy_v4", deepseek3},
      {"deepseek-llm",
       {R"([\r\n])", R"(\s?\p{L&}+)", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", R"(\s+$)",
        "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", R"(\p{N}+)"}},
      {"jina-es", gpt2},
      {"jina-de", gpt2},
      {"jina-v2-es", gpt2},
      {"jina-v2-de", gpt2},
      {"a.x-4.0", gpt2},
      {"modern-bert", gpt2},
      {"exaone4", gpt2},
      {"trillion", gpt2},
      {"granite-docling", gpt2},
      {"minerva-7b", digits},
      {"mellum2", digits},
      {"kormo", qwen2},
      {"f2llmv2", qwen2},
      {"grok-2", qwen2},
      {"talkie", gpt4o},
      {"tiny_aya", thousands},
      {"cohere2moe", thousands},
      {"jais-2", {kJais2}},
      {"bailingmoe", bailing},
      {"bailingmoe2", bailing},
      {"llada-moe", bailing},
      {"seed-coder", {kSeedCoder}},
      {"exaone-moe", {kExaoneMoe}},
      {"poro-chat", bloom},
      {"bloom", bloom},
      {"gpt3-finnish", bloom},
      {"viking", {kBloom, R"(\p{N})"}},
      {"superbpe", {R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"}},
      {"kimi-k2", {kimi}},
      {"laguna", {"[^\n]+|[\n]+", kQwen2}},
  };
  return table;
}

}  // namespace

const GgufPreTokenizer* FindGgufPreTokenizer(std::string_view name) {
  for (const auto& row : Table()) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::string GgufPreTokenizerNames() {
  std::string names;
  for (const auto& row : Table()) names.append(names.empty() ? "" : ", ").append(row.name);
  return names;
}

}  // namespace nibble
