// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/hub_config.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/json.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

// A token is a text, or {"content": text, ...}.
std::string ReadToken(const Json& config, const char* key) {
  const Json* token = JsonFind(config, key);
  if (token && token->is_object()) token = JsonFind(*token, "content");
  return token && token->is_string() ? token->get<std::string>() : "";
}

Status ReadTemplates(const Json& config, const std::string& where, HubTokenizerConfig& out) {
  const Json* value = JsonFind(config, "chat_template");
  if (!value) return {};
  out.template_source = "tokenizer_config.json";
  if (value->is_string()) {
    out.chat_template = value->get<std::string>();
    return {};
  }
  if (!value->is_array()) return Corrupt("{}: \"chat_template\" is neither a text nor a list of {{name, template}}", where);
  for (const Json& item : *value) {
    NIBBLE_TRY_IN(where + ": chat_template", auto name, JsonString(item, "name"));
    NIBBLE_TRY_IN(where + ": chat_template", auto text, JsonString(item, "template"));
    if (name == "default") out.chat_template = text;
    out.named_templates.emplace_back(std::move(name), std::move(text));
  }
  return {};
}

Status ReadEosIds(const Json& config, const std::string& where, std::vector<int32_t>& ids) {
  const Json* value = JsonFind(config, "eos_token_id");
  if (!value) return {};
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= INT32_MAX)
      return Corrupt("{}: \"eos_token_id\" must hold token ids", where);
    ids.push_back(id.get<int32_t>());
  }
  return {};
}

Result<std::optional<bool>> OptionalJsonBool(const Json& config, const char* key) {
  if (!JsonFind(config, key)) return std::optional<bool>();
  NIBBLE_TRY(const bool value, JsonBool(config, key, false));
  return std::optional(value);
}

// "added_tokens_decoder": {"32000": {"content": "<x>", "special": true ...}}
Status ReadAddedTokens(const Json& config, const std::string& where, std::vector<AddedToken>& out) {
  const Json* tokens = JsonFind(config, "added_tokens_decoder");
  if (!tokens || !tokens->is_object()) return {};
  for (const auto& [key, spec] : tokens->items()) {
    AddedToken token;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
    if (error != std::errc() || *end != '\0' || token.id < 0 || !spec.is_object())
      return Corrupt("{}: added_tokens_decoder: \"{}\" is no token id with an object", where, key);
    NIBBLE_TRY_IN(where, token.content, JsonString(spec, "content"));
    NIBBLE_TRY_IN(where, token.special, JsonBool(spec, "special", false));
    NIBBLE_TRY_IN(where, token.lstrip, JsonBool(spec, "lstrip", false));
    NIBBLE_TRY_IN(where, token.rstrip, JsonBool(spec, "rstrip", false));
    NIBBLE_TRY_IN(where, token.single_word, JsonBool(spec, "single_word", false));
    out.push_back(std::move(token));
  }
  return {};
}

// added_tokens.json, {"<x>": 32000}: where tokenizer_config.json has no list of its own.
Status ReadAddedTokensFile(const std::string& path, std::vector<AddedToken>& out) {
  if (!out.empty() || !Exists(path)) return {};
  NIBBLE_TRY(const Json tokens, ReadJsonFile(path));
  if (!tokens.is_object()) return Corrupt("{}: wanted an object of token: id", path);
  for (const auto& [text, id] : tokens.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= INT32_MAX)
      return Corrupt("{}: \"{}\" has no token id", path, text);
    out.push_back({.id = id.get<int32_t>(), .content = text, .special = text.starts_with('<') && text.ends_with('>')});
  }
  return {};
}

Status ReadTokenizerConfig(const Json& config, const std::string& path, HubTokenizerConfig& out) {
  out.bos_token = ReadToken(config, "bos_token");
  out.eos_token = ReadToken(config, "eos_token");
  for (const char* key : {"unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    if (auto text = ReadToken(config, key); !text.empty()) out.special_tokens.emplace_back(key, std::move(text));
  }
  NIBBLE_TRY_IN(path, out.tokenizer_class, JsonString(config, "tokenizer_class", ""));
  if (out.tokenizer_class.ends_with("Fast")) out.tokenizer_class.resize(out.tokenizer_class.size() - 4);
  NIBBLE_TRY_IN(path, out.add_bos, OptionalJsonBool(config, "add_bos_token"));
  NIBBLE_TRY_IN(path, out.add_eos, OptionalJsonBool(config, "add_eos_token"));
  NIBBLE_TRY_IN(path, out.legacy, OptionalJsonBool(config, "legacy"));
  NIBBLE_TRY_IN(path, out.add_prefix_space, JsonBool(config, "add_prefix_space", false));
  NIBBLE_TRY_IN(path, out.lowercase, JsonBool(config, "do_lower_case", true));
  NIBBLE_RETURN_IF_ERROR(ReadAddedTokens(config, path, out.added_tokens));
  return ReadTemplates(config, path, out);
}

Result<std::string> ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return IoError(errno, path);
  const auto size = static_cast<int64_t>(in.tellg());
  if (size < 0 || size > kMaxChatTemplateBytes)
    return Corrupt("{}: {} bytes, a chat template has at most {}", path, size, kMaxChatTemplateBytes);
  in.seekg(0);
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return unicode::Sanitize(text);
}

// chat_template.jinja (older: chat_template.json) goes before tokenizer_config.json; additional_chat_templates/NAME.jinja are
// named.
Status ReadTemplateFiles(const std::string& folder, HubTokenizerConfig& out) {
  if (const std::string path = folder + "/chat_template.jinja"; Exists(path)) {
    NIBBLE_TRY(out.chat_template, ReadText(path));
    out.template_source = "chat_template.jinja";
  } else if (const std::string json = folder + "/chat_template.json"; out.chat_template.empty() && Exists(json)) {
    NIBBLE_TRY(const Json config, ReadJsonFile(json));
    NIBBLE_RETURN_IF_ERROR(ReadTemplates(config, json, out));
    out.template_source = "chat_template.json";
  }
  std::error_code ignored;
  std::vector<std::filesystem::path> more;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/additional_chat_templates", ignored)) {
    if (entry.path().extension() == ".jinja") more.push_back(entry.path());
  }
  std::sort(more.begin(), more.end());
  for (const auto& path : more) {
    NIBBLE_TRY(auto text, ReadText(path.string()));
    out.named_templates.emplace_back(path.stem().string(), std::move(text));
  }
  return {};
}

}  // namespace

Result<HubTokenizerConfig> ReadHubTokenizerConfig(const std::string& folder) {
  HubTokenizerConfig out;
  if (const std::string path = folder + "/tokenizer_config.json"; Exists(path)) {
    NIBBLE_TRY(const Json config, ReadJsonFile(path));
    NIBBLE_RETURN_IF_ERROR(ReadTokenizerConfig(config, path, out));
  }
  NIBBLE_RETURN_IF_ERROR(ReadAddedTokensFile(folder + "/added_tokens.json", out.added_tokens));
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::string path = folder + "/" + name;
    if (!out.eos_ids.empty() || !Exists(path)) continue;
    NIBBLE_TRY(const Json config, ReadJsonFile(path));
    NIBBLE_RETURN_IF_ERROR(ReadEosIds(config, path, out.eos_ids));
    if (!out.eos_ids.empty()) out.eos_source = name;
  }
  NIBBLE_RETURN_IF_ERROR(ReadTemplateFiles(folder, out));
  return out;
}

}  // namespace nibble
