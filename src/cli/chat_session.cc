// SPDX-License-Identifier: Apache-2.0
#include "cli/chat_session.h"

#include <editline/readline.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "base/progress.h"
#include "cli/template_arguments.h"
#include "cli/terminal.h"

namespace nibble {

ChatSession::ChatSession(Engine& engine, const Tokenizer& tokenizer, ChatFormat format, GenerateOptions options, std::string system)
    : engine_(engine), tokenizer_(tokenizer), format_(std::move(format)), options_(std::move(options)), system_(std::move(system)) {
  Clear();
}

void ChatSession::Clear() {
  messages_ = OrderedJson::array();
  if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
}

Result<Generation> ChatSession::Say(const std::string& user, const std::function<void(std::string_view)>& on_text) {
  messages_.push_back({{"role", "user"}, {"content", user}});
  OrderedJson record = ChatRecord(format_.source, messages_);
  record["add_generation_prompt"] = true;
  record["tools"] = format_.tools;
  NIBBLE_TRY(OrderedJson variables, VariablesOfRecord(record));
  NIBBLE_RETURN_IF_ERROR(SetTemplateArguments(format_.arguments, format_.no_think, variables));
  NIBBLE_TRY(const std::string prompt, format_.chat.Render(variables, {}));
  // The template spells its special tokens itself.
  NIBBLE_TRY(auto ids, tokenizer_.Encode(prompt, false));
  NIBBLE_TRY(Generation generation, Generate(engine_, &tokenizer_, std::move(ids), options_, on_text));
  messages_.push_back({{"role", "assistant"}, {"content", generation.text}});
  return generation;
}

Status ChatSession::Interact() {
  std::fprintf(stderr, "/clear forgets the conversation, /exit ends it\n");
  for (;;) {
    const auto line = ReadChatLine("> ");
    if (!line || *line == "/exit") return {};
    if (line->empty()) continue;
    if (*line == "/clear") {
      Clear();
      continue;
    }
    StopRequested() = false;  // Ctrl-C ends an answer, not the conversation
    const auto said = Say(*line, [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::fflush(stdout);
    });
    std::printf("\n");
    if (!said) {
      if (!StdinIsTerminal()) return tl::unexpected(said.error());
      std::fprintf(stderr, "%s\n", said.error().ToString().c_str());  // a prompt that grew too long ends no conversation
      messages_.erase(messages_.size() - 1);
      continue;
    }
    std::fprintf(stderr, "[%zu tokens, %.1f tok/s, %s]\n", said->tokens.size(),
                 said->decode_seconds > 0 ? static_cast<double>(said->tokens.size()) / said->decode_seconds : 0.0,
                 FinishName(said->finish));
  }
}

std::optional<std::string> ReadChatLine(const char* prompt) {
  if (!StdinIsTerminal()) {
    std::string line;
    if (!std::getline(std::cin, line)) return std::nullopt;
    return line;
  }
  char* line = readline(prompt);
  if (!line) return std::nullopt;
  std::string text = line;
  std::free(line);
  if (!text.empty()) add_history(text.c_str());
  return text;
}

}  // namespace nibble
