// SPDX-License-Identifier: Apache-2.0
// Loads a Tokenizer from a hub folder or the text of a tokenizer.json.
#include <algorithm>
#include <filesystem>

#include "tokenizers/gguf_reader.h"
#include "tokenizers/hub_config.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/tokenizer_files.h"

namespace nibble {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{256} << 20;  // the largest published one has 35 MB
constexpr int32_t kMaxAddedId = 1 << 24;

Result<AddedToken> ReadAddedToken(const Json& spec, const std::string& where) {
  AddedToken token;
  NIBBLE_TRY_IN(where, const int64_t id, JsonInt(spec, "id"));
  if (id < 0 || id > kMaxAddedId) return Corrupt("{}: id {}, wanted 0 to {}", where, id, kMaxAddedId);
  token.id = static_cast<int32_t>(id);
  NIBBLE_TRY_IN(where, token.content, JsonString(spec, "content"));
  NIBBLE_TRY_IN(where, token.special, JsonBool(spec, "special", false));
  NIBBLE_TRY_IN(where, token.normalized, JsonBool(spec, "normalized", !token.special));
  NIBBLE_TRY_IN(where, token.lstrip, JsonBool(spec, "lstrip", false));
  NIBBLE_TRY_IN(where, token.rstrip, JsonBool(spec, "rstrip", false));
  NIBBLE_TRY_IN(where, token.single_word, JsonBool(spec, "single_word", false));
  return token;
}

Result<Tokenizer::Parts> ReadParts(const Json& root, const std::string& where) {
  if (!root.is_object()) return Corrupt("{}: wanted an object", where);
  Tokenizer::Parts parts;
  if (const Json* spec = JsonFind(root, "normalizer")) {
    NIBBLE_TRY(parts.normalizer, ParseNormalizer(*spec, where + ": normalizer"));
  }
  if (const Json* spec = JsonFind(root, "pre_tokenizer")) {
    NIBBLE_TRY(parts.pre_tokenizer, ParsePreTokenizer(*spec, where + ": pre_tokenizer"));
  }
  if (const Json* spec = JsonFind(root, "post_processor")) {
    NIBBLE_TRY(parts.post, ParsePostProcessor(*spec, where + ": post_processor"));
  }
  if (const Json* spec = JsonFind(root, "decoder")) {
    NIBBLE_TRY(parts.decoder, ParseDecoder(*spec, where + ": decoder"));
  }
  if (const Json* list = JsonFind(root, "added_tokens")) {
    if (!list->is_array()) return Corrupt("{}: \"added_tokens\" must be an array", where);
    for (const Json& item : *list) {
      NIBBLE_TRY(auto token, ReadAddedToken(item, fmt::format("{}: added_tokens[{}]", where, parts.added.size())));
      parts.added.push_back(std::move(token));
    }
  }
  const Json* model = JsonFind(root, "model");
  if (!model) return Corrupt("{}: key \"model\" is missing; is this a tokenizer.json?", where);
  NIBBLE_TRY(parts.model, ParseTokenModel(*model, where + ": model"));
  return parts;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromTokenizerJson(std::string_view text, const std::string& where) {
  NIBBLE_TRY(const Json root, ParseJson(text, where));
  NIBBLE_TRY(Parts parts, ReadParts(root, where));
  return Make(std::move(parts), where);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromHubFolder(const std::string& folder) {
  NIBBLE_TRY(const HubTokenizerConfig config, ReadHubTokenizerConfig(folder));
  const std::string path = folder + "/tokenizer.json";
  std::error_code ignored;
  Parts parts;
  if (std::filesystem::exists(path, ignored)) {
    NIBBLE_TRY(const Json root, ReadJsonFile(path, kMaxFileBytes));
    NIBBLE_TRY(parts, ReadParts(root, path));
    if (!config.bos_token.empty()) parts.bos_id = parts.Find(config.bos_token);
    const int32_t eos = config.eos_token.empty() ? -1 : parts.Find(config.eos_token);
    if (eos >= 0) parts.eos_ids.push_back(eos);
  } else {
    NIBBLE_TRY(parts, ReadTokenizerFiles(folder, config));
  }
  for (const int32_t id : config.eos_ids) {
    if (std::find(parts.eos_ids.begin(), parts.eos_ids.end(), id) == parts.eos_ids.end()) parts.eos_ids.push_back(id);
  }
  return Make(std::move(parts), path);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::Open(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return FromHubFolder(path);
  Parts parts;
  if (path.ends_with(".gguf")) return OpenGgufTokenizer(path);
  if (path.ends_with(".json")) {
    NIBBLE_TRY(const Json root, ReadJsonFile(path, kMaxFileBytes));
    NIBBLE_TRY(parts, ReadParts(root, path));
  } else {
    NIBBLE_TRY(parts, ReadTokenizerModelFile(path, {}));
  }
  return Make(std::move(parts), path);
}

}  // namespace nibble
