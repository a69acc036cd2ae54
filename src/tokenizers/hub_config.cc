// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/hub_config.h"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/json.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

constexpr int64_t kMaxTemplateBytes = 4 << 20;

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

Result<std::string> ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return IoError(errno, path);
  const auto size = static_cast<int64_t>(in.tellg());
  if (size < 0 || size > kMaxTemplateBytes)
    return Corrupt("{}: {} bytes, a chat template has at most {}", path, size, kMaxTemplateBytes);
  in.seekg(0);
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return unicode::Sanitize(text);
}

}  // namespace

Result<HubTokenizerConfig> ReadHubTokenizerConfig(const std::string& folder) {
  HubTokenizerConfig out;
  if (const std::string path = folder + "/tokenizer_config.json"; Exists(path)) {
    NIBBLE_TRY(const Json config, ReadJsonFile(path));
    out.bos_token = ReadToken(config, "bos_token");
    out.eos_token = ReadToken(config, "eos_token");
    NIBBLE_RETURN_IF_ERROR(ReadTemplates(config, path, out));
  }
  for (const char* name : {"/generation_config.json", "/config.json"}) {
    const std::string path = folder + name;
    if (!out.eos_ids.empty() || !Exists(path)) continue;
    NIBBLE_TRY(const Json config, ReadJsonFile(path));
    NIBBLE_RETURN_IF_ERROR(ReadEosIds(config, path, out.eos_ids));
  }
  if (const std::string path = folder + "/chat_template.jinja"; Exists(path)) {
    NIBBLE_TRY(out.chat_template, ReadText(path));
  }
  return out;
}

}  // namespace nibble
