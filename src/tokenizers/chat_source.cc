// SPDX-License-Identifier: Apache-2.0
#include "tokenizers/chat_source.h"

#include <filesystem>

#include "io/mapped_file.h"
#include "tokenizers/gguf_reader.h"
#include "tokenizers/hub_config.h"
#include "tokenizers/unicode.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

Result<ChatSource> ReadTemplateFile(const std::string& path) {
  NIBBLE_TRY(const std::string text, ReadTextFile(path, kMaxChatTemplateBytes));
  return ChatSource{unicode::Sanitize(text), path, {}};
}

// A file's tokens and templates in the form in which folders give them.
Result<HubTokenizerConfig> ReadGgufConfig(const std::string& path) {
  NIBBLE_TRY(const GgufFile file, OpenGguf(path));
  NIBBLE_TRY(const GgufVocab vocab, ReadGgufVocab(file.metadata, path));
  HubTokenizerConfig config;
  const auto text = [&](std::optional<int64_t> id) { return id ? vocab.tokens[static_cast<size_t>(*id)] : std::string(); };
  config.bos_token = text(vocab.bos_id);
  config.eos_token = text(vocab.eos_id);
  config.chat_template = vocab.chat_template;
  config.template_source = "tokenizer.chat_template";
  config.named_templates = vocab.named_templates;
  return config;
}

}  // namespace

Result<ChatSource> FindChatTemplate(const std::string& model, const std::string& wanted, bool with_tools) {
  std::error_code ignored;
  const bool gguf = model.ends_with(".gguf");
  if (!gguf && fs::is_regular_file(model, ignored)) return ReadTemplateFile(model);
  ChatSource source;
  NIBBLE_TRY(source.config, gguf ? ReadGgufConfig(model) : ReadHubTokenizerConfig(model));
  if (wanted.ends_with(".jinja") || fs::is_regular_file(wanted, ignored)) {
    NIBBLE_TRY(ChatSource file, ReadTemplateFile(wanted));
    file.config = std::move(source.config);
    return file;
  }
  const HubTokenizerConfig& config = source.config;
  source.name = fmt::format("{} of {}", config.template_source, model);
  source.text = config.chat_template;
  std::string names;
  for (const auto& [name, text] : config.named_templates) {
    names.append(names.empty() ? "" : ", ").append(name);
    if (name != wanted && !(wanted.empty() && with_tools && name == "tool_use")) continue;
    source.text = text;
    source.name = fmt::format("template \"{}\" of {}", name, model);
    return source;
  }
  if (!wanted.empty() && wanted != "default")
    return NotFound("{}: no chat template \"{}\", and no file of that name; the model's templates: {}", model, wanted,
                    names.empty() ? "one without a name" : names);
  if (!source.text.empty()) return source;
  if (!names.empty()) return NotFound("{}: no default chat template; choose one of {}", model, names);
  return NotFound("{}: no chat template (chat_template.jinja, or \"chat_template\" in {})", model,
                  gguf ? "the file's metadata" : "tokenizer_config.json");
}

OrderedJson ChatRecord(const ChatSource& source, OrderedJson messages) {
  OrderedJson record = {{"messages", std::move(messages)}, {"extra", OrderedJson::object()}};
  // What a tokenizer does not name stays undefined, as transformers has it; bos and eos are texts in any case.
  for (const auto& [key, text] : source.config.special_tokens) record["extra"][key] = text;
  record["bos_token"] = source.config.bos_token;
  record["eos_token"] = source.config.eos_token;
  return record;
}

}  // namespace nibble
