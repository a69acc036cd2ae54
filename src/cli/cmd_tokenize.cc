// SPDX-License-Identifier: Apache-2.0
// nibble tokenize: text on standard input -> token ids.
#include <cstdio>

#include <fmt/ranges.h>

#include "cli/command.h"
#include "cli/standard_input.h"
#include "io/json.h"
#include "tokenizers/tokenizer.h"

namespace nibble {
namespace {

struct TokenizeArguments {
  std::string model;
  bool no_special = false, jsonl = false;
};

Status PrintIds(const Tokenizer& tokenizer, const std::string& text, bool add_special) {
  NIBBLE_TRY(const auto ids, tokenizer.Encode(text, add_special));
  fmt::print("[{}]\n", fmt::join(ids, ","));
  return {};
}

Status RunTokenize(const TokenizeArguments& options) {
  NIBBLE_TRY(const auto tokenizer, Tokenizer::Open(options.model));
  if (!options.jsonl) {
    NIBBLE_TRY(const std::string text, ReadStandardInput());
    return PrintIds(*tokenizer, text, !options.no_special);
  }
  return ForEachInputLine([&](const std::string& line, const std::string& where) -> Status {
    NIBBLE_TRY(const Json text, ParseJson(line, where));
    if (!text.is_string()) return Corrupt("{}: wanted a JSON string", where);
    NIBBLE_RETURN_IF_ERROR(PrintIds(*tokenizer, text.get<std::string>(), !options.no_special));
    return {};
  });
}

std::function<Status()> SetUpTokenize(CLI::App& app) {
  auto options = std::make_shared<TokenizeArguments>();
  app.add_option("model", options->model, "folder with tokenizer.json, a tokenizer.json, or a .gguf file")->required();
  app.add_flag("--no-special", options->no_special, "add nothing before or behind the text (tokens spelled in it still count)");
  app.add_flag("--jsonl", options->jsonl, "each input line is a JSON string; one list of ids a line comes out");
  return [options] { return RunTokenize(*options); };
}

}  // namespace

const Command* tokenize_command() {
  static const Command command = {"tokenize", "text on standard input -> token ids",
                                  "echo -n 'Once upon a time' | nibble tokenize models/tales-5m", 80, SetUpTokenize};
  return &command;
}

}  // namespace nibble
