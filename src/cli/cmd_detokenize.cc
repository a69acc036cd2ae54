// SPDX-License-Identifier: Apache-2.0
// nibble detokenize: token ids on standard input -> text.
#include <cstdio>

#include "cli/command.h"
#include "cli/standard_input.h"
#include "io/json.h"
#include "tokenizers/tokenizer.h"

namespace nibble {
namespace {

struct DetokenizeArguments {
  std::string model;
  bool skip_special = false, jsonl = false;
};

Result<std::string> DecodeList(const Tokenizer& tokenizer, const std::string& line, const std::string& where, bool skip_special) {
  NIBBLE_TRY(const Json list, ParseJson(line, where));
  if (!list.is_array()) return Corrupt("{}: wanted a JSON list of token ids", where);
  std::vector<int32_t> ids;
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) {
      return Corrupt("{}: number {} of the list is not a token id (an integer from 0)", where, ids.size());
    }
    ids.push_back(id.get<int32_t>());
  }
  auto text = tokenizer.Decode(ids, skip_special);
  if (!text) return tl::unexpected<Error>(std::move(text).error().In(where));
  return text;
}

Status RunDetokenize(const DetokenizeArguments& options) {
  NIBBLE_TRY(const auto tokenizer, Tokenizer::Open(options.model));
  if (!options.jsonl) {
    NIBBLE_TRY(const std::string list, ReadStandardInput());
    NIBBLE_TRY(const std::string text, DecodeList(*tokenizer, list, "standard input", options.skip_special));
    std::fwrite(text.data(), 1, text.size(), stdout);
    return {};
  }
  return ForEachInputLine([&](const std::string& line, const std::string& where) -> Status {
    NIBBLE_TRY(const std::string text, DecodeList(*tokenizer, line, where, options.skip_special));
    fmt::print("{}\n", Json(text).dump());
    return {};
  });
}

std::function<Status()> SetUpDetokenize(CLI::App& app) {
  auto options = std::make_shared<DetokenizeArguments>();
  app.add_option("model", options->model, "folder with tokenizer.json, a tokenizer.json, or a .gguf file")->required();
  app.add_flag("--skip-special", options->skip_special, "leave special tokens out (default: they are spelled)");
  app.add_flag("--jsonl", options->jsonl, "each input line is a list of ids; one JSON string a line comes out");
  return [options] { return RunDetokenize(*options); };
}

}  // namespace

const Command* detokenize_command() {
  static const Command command = {"detokenize", "token ids on standard input -> text",
                                  "echo '[0,1,2]' | nibble detokenize models/tales-5m", 81, SetUpDetokenize};
  return &command;
}

}  // namespace nibble
