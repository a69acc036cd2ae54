// SPDX-License-Identifier: Apache-2.0
// Talk with a model in the terminal: messages through the model's own chat template, line editing and history on standard input.
#pragma once

#include <optional>
#include <string>

#include "engine/generate.h"
#include "tokenizers/chat_source.h"

namespace nibble {

// A model's template, parsed, and what the user tells it.
struct ChatFormat {
  ChatTemplate chat;
  ChatSource source;
  OrderedJson tools;  // null: none
  std::vector<std::string> arguments;
  bool no_think = false;
};

class ChatSession {
 public:
  ChatSession(Engine& engine, const Tokenizer& tokenizer, ChatFormat format, GenerateOptions options, std::string system);

  // One turn: renders, generates, remembers both messages.
  Result<Generation> Say(const std::string& user, const std::function<void(std::string_view)>& on_text);
  // Reads lines until end of input or /exit. Prints what the model says to stdout.
  Status Interact();
  void Clear();

 private:
  Engine& engine_;
  const Tokenizer& tokenizer_;
  ChatFormat format_;
  GenerateOptions options_;
  std::string system_;
  OrderedJson messages_ = OrderedJson::array();
};

// A line with editing and history when stdin is a terminal, else a plain line; nullopt at the end of input.
std::optional<std::string> ReadChatLine(const char* prompt);

}  // namespace nibble
