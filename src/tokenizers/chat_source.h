// SPDX-License-Identifier: Apache-2.0
// Where a model's chat template comes from: a hub folder, a GGUF file, or a template file by itself.
#pragma once

#include "tokenizers/chat_template.h"
#include "tokenizers/hub_config.h"

namespace nibble {

struct ChatSource {
  std::string text;
  std::string name;  // "chat_template.jinja of FOLDER", for messages
  HubTokenizerConfig config;
};

// `wanted`: the name of one of several templates ("tool_use"), or a file of its own; empty: the model's default, and with tools its
// template "tool_use" where it has one, as transformers chooses. NotFound when the model has no template, or none of that name (the
// message lists the names).
Result<ChatSource> FindChatTemplate(const std::string& model, const std::string& wanted, bool with_tools);

// The record (chat_template.h) of `messages` with the special tokens that the source names.
OrderedJson ChatRecord(const ChatSource& source, OrderedJson messages);

}  // namespace nibble
