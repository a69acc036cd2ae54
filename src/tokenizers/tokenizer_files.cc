// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/tokenizer_files.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "io/mapped_file.h"
#include "tokenizers/sentencepiece_parts.h"
#include "tokenizers/tiktoken.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxBytes = int64_t{256} << 20;
constexpr const char* kVocabularyFiles[] = {"tokenizer.model",    "spiece.model",       "tokenizer.model.v3",
                                            "tokenizer.model.v2", "tokenizer.model.v1", "tiktoken.model"};

bool IsFile(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::string FindModelFile(const std::string& folder) {
  for (const char* name : kVocabularyFiles) {
    if (IsFile(folder + "/" + name)) return folder + "/" + name;
  }
  std::error_code ignored;
  std::vector<std::string> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == ".tiktoken") found.push_back(entry.path().string());
  }
  std::sort(found.begin(), found.end());
  return found.empty() ? "" : found.front();
}

// The tokens of tokenizer_config.json and added_tokens.json, in place of what the vocabulary itself calls special.
void AddConfigTokens(const HubTokenizerConfig& config, Tokenizer::Parts& parts) {
  for (const AddedToken& token : config.added_tokens) {
    std::erase_if(parts.added, [&](const AddedToken& known) { return known.id == token.id; });
    parts.added.push_back(token);
  }
}

void AddHubEnds(const HubTokenizerConfig& config, bool bos_by_default, bool eos_by_default, Tokenizer::Parts& parts) {
  if (!config.bos_token.empty()) parts.bos_id = parts.Find(config.bos_token);
  if (config.add_bos.value_or(bos_by_default) && parts.bos_id >= 0) parts.post.before.push_back(parts.bos_id);
  const int32_t eos = config.eos_token.empty() ? -1 : parts.Find(config.eos_token);
  if (eos >= 0) parts.eos_ids.push_back(eos);
  if (config.add_eos.value_or(eos_by_default) && !parts.eos_ids.empty()) parts.post.after.push_back(parts.eos_ids.front());
}

// The components are those of tokenizer.json, so that is what is written for the parser.
Result<Tokenizer::Parts> PartsOfJson(const Json& normalizer, const Json& pre_tokenizer, const Json& decoder, const Json& model,
                                     const std::string& where) {
  Tokenizer::Parts parts;
  if (!normalizer.is_null()) {
    NIBBLE_TRY(parts.normalizer, ParseNormalizer(normalizer, where));
  }
  NIBBLE_TRY(parts.pre_tokenizer, ParsePreTokenizer(pre_tokenizer, where));
  NIBBLE_TRY(parts.decoder, ParseDecoder(decoder, where));
  NIBBLE_TRY(parts.model, ParseTokenModel(model, where));
  return parts;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    if (lines.back().ends_with('\r')) lines.back().pop_back();
    at = end + 1;
  }
  return lines;
}

// GPT-2's byte-level BPE; tokenizers of Qwen's class cut words their own way and normalize.
Result<Tokenizer::Parts> ReadVocabAndMerges(const std::string& folder, const HubTokenizerConfig& config) {
  NIBBLE_TRY(const Json vocab, ReadJsonFile(folder + "/vocab.json", kMaxBytes));
  NIBBLE_TRY(const std::string merges, ReadTextFile(folder + "/merges.txt", kMaxBytes));
  Json list = Json::array();
  for (const std::string& line : Lines(merges)) {
    if (!line.empty() && !(list.empty() && line.starts_with("#version"))) list.push_back(line);
  }
  const bool qwen = config.tokenizer_class.starts_with("Qwen2");
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", config.add_prefix_space}, {"use_regex", !qwen}};
  Json steps = Json::array();
  if (qwen) steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", kQwenPattern}}}, {"behavior", "Isolated"}});
  steps.push_back(byte_level);
  NIBBLE_TRY(Tokenizer::Parts parts,
             PartsOfJson(qwen ? Json{{"type", "NFC"}} : Json(), {{"type", "Sequence"}, {"pretokenizers", steps}},
                         {{"type", "ByteLevel"}}, {{"type", "BPE"}, {"vocab", vocab}, {"merges", list}}, folder + "/vocab.json"));
  AddConfigTokens(config, parts);
  AddHubEnds(config, false, false, parts);
  return parts;
}

Result<Tokenizer::Parts> ReadVocabText(const std::string& folder, const HubTokenizerConfig& config) {
  NIBBLE_TRY(const std::string text, ReadTextFile(folder + "/vocab.txt", kMaxBytes));
  Json vocab = Json::object();
  int32_t id = 0;
  for (const std::string& line : Lines(text)) vocab[line] = id++;
  const Json normalizer = {{"type", "BertNormalizer"}, {"lowercase", config.lowercase}};
  NIBBLE_TRY(Tokenizer::Parts parts, PartsOfJson(normalizer, {{"type", "BertPreTokenizer"}}, {{"type", "WordPiece"}},
                                                 {{"type", "WordPiece"}, {"vocab", vocab}}, folder + "/vocab.txt"));
  for (const char* special : {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"}) {
    const int32_t found = parts.model->vocabulary().Find(special);
    if (found >= 0) parts.added.push_back({.id = found, .content = special, .special = true});
  }
  AddConfigTokens(config, parts);
  const int32_t cls = parts.Find("[CLS]"), sep = parts.Find("[SEP]");
  if (cls >= 0) parts.post.before.push_back(cls);
  if (sep >= 0) parts.post.after.push_back(sep);
  return parts;
}

}  // namespace

Result<Tokenizer::Parts> ReadTokenizerModelFile(const std::string& path, const HubTokenizerConfig& config) {
  NIBBLE_TRY(const std::string bytes, ReadTextFile(path, kMaxBytes));
  if (bytes.starts_with("version https://git-lfs")) {
    return Corrupt("{}: only a pointer to the file, not the file itself; fetch it (git lfs pull, or hf download)", path);
  }
  Tokenizer::Parts parts;
  if (LooksLikeTiktoken(bytes)) {
    NIBBLE_TRY(parts, MakeTiktokenParts(bytes, config, path));
    AddHubEnds(config, parts.bos_id >= 0, false, parts);
    return parts;
  }
  NIBBLE_TRY(const SentencePieceFile file, ReadSentencePieceFile(bytes, path));
  NIBBLE_TRY(parts, MakeSentencePieceParts(file, config.legacy.value_or(true), path));
  AddConfigTokens(config, parts);
  if (file.eos_id >= 0 && config.eos_token.empty()) parts.eos_ids.push_back(file.eos_id);
  const bool t5 = config.tokenizer_class.starts_with("T5");
  AddHubEnds(config, !t5, t5, parts);
  return parts;
}

Result<Tokenizer::Parts> ReadTokenizerFiles(const std::string& folder, const HubTokenizerConfig& config) {
  if (const std::string path = FindModelFile(folder); !path.empty()) return ReadTokenizerModelFile(path, config);
  if (IsFile(folder + "/vocab.json") && IsFile(folder + "/merges.txt")) return ReadVocabAndMerges(folder, config);
  if (IsFile(folder + "/vocab.txt")) return ReadVocabText(folder, config);
  return NotFound(
      "{}: no tokenizer: neither tokenizer.json nor tokenizer.model, tiktoken.model, *.tiktoken, vocab.json with merges.txt, "
      "vocab.txt is there; copy tokenizer.json and tokenizer_config.json from the model that this one was made of",
      folder);
}

}  // namespace nibble
