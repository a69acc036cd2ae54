// SPDX-License-Identifier: Apache-2.0
// nibble template: messages -> the prompt that a model's chat template makes of them.
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cli/command.h"
#include "cli/standard_input.h"
#include "io/json.h"
#include "tokenizers/chat_template.h"
#include "tokenizers/gguf_vocab.h"
#include "tokenizers/hub_config.h"

namespace nibble {
namespace {

struct Options {
  std::string model, messages, tools, now;
  std::vector<std::string> set;
  bool add_generation_prompt = false, jsonl = false;
};

// The template and the tokens that it may spell.
struct Source {
  std::string text, name;
  HubTokenizerConfig config;
};

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return IoError(errno, path);
  return std::string{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

Result<OrderedJson> ReadOrdered(const std::string& path) {
  NIBBLE_TRY(const std::string text, ReadFile(path));
  return ParseOrderedJson(text, path);
}

Result<Source> ReadGgufSource(const std::string& path) {
  NIBBLE_TRY(const GgufFile file, OpenGguf(path));
  NIBBLE_TRY_IN(path, const GgufVocab vocab, ReadGgufVocab(file.metadata));
  if (vocab.chat_template.empty()) return NotFound("{}: no tokenizer.chat_template in this file", path);
  Source source = {vocab.chat_template, path, {}};
  const auto text = [&](std::optional<int64_t> id) {
    return id && *id >= 0 && *id < std::ssize(vocab.tokens) ? vocab.tokens[static_cast<size_t>(*id)] : std::string();
  };
  source.config.bos_token = text(vocab.bos_id);
  source.config.eos_token = text(vocab.eos_id);
  return source;
}

Result<Source> ReadSource(const std::string& model) {
  Source source;
  source.name = model;
  if (model.ends_with(".gguf")) return ReadGgufSource(model);
  std::error_code ignored;
  if (!std::filesystem::is_directory(model, ignored)) {
    NIBBLE_TRY(source.text, ReadFile(model));
    return source;
  }
  NIBBLE_TRY(source.config, ReadHubTokenizerConfig(model));
  source.text = source.config.chat_template;
  if (!source.text.empty()) return source;
  return NotFound("{}: neither chat_template.jinja nor a \"chat_template\" in tokenizer_config.json", model);
}

Result<OrderedJson> Variables(const Options& options, const Source& source) {
  if (options.messages.empty()) return Fail(Code::kUsage, "give --messages FILE.json, or --jsonl with records on standard input");
  NIBBLE_TRY(OrderedJson messages, ReadOrdered(options.messages));
  OrderedJson record = messages.is_object() ? std::move(messages) : OrderedJson{{"messages", std::move(messages)}};
  if (!options.tools.empty()) {
    NIBBLE_TRY(record["tools"], ReadOrdered(options.tools));
  }
  if (options.add_generation_prompt) record["add_generation_prompt"] = true;
  if (!record.contains("bos_token")) record["bos_token"] = source.config.bos_token;
  if (!record.contains("eos_token")) record["eos_token"] = source.config.eos_token;
  NIBBLE_TRY(OrderedJson variables, VariablesOfRecord(record));
  for (const std::string& item : options.set) {
    const size_t equals = item.find('=');
    if (equals == item.npos) return Fail(Code::kUsage, "--set {}: wanted name=JSON", item);
    NIBBLE_TRY(variables[item.substr(0, equals)], ParseOrderedJson(item.substr(equals + 1), "--set " + item.substr(0, equals)));
  }
  return variables;
}

Status RunRecords(const ChatTemplate& chat, RenderOptions options) {
  options.locate_errors = false;
  return ForEachInputLine([&](const std::string& line, const std::string& where) -> Status {
    NIBBLE_TRY(const OrderedJson record, ParseOrderedJson(line, where));
    NIBBLE_TRY_IN(where, const OrderedJson variables, VariablesOfRecord(record));
    const auto text = chat.Render(variables, options);
    const OrderedJson out = text ? OrderedJson{{"rendered", *text}} : OrderedJson{{"error", text.error().message}};
    fmt::print("{}\n", out.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
    return {};
  });
}

Status Run(const Options& options) {
  NIBBLE_TRY(const Source source, ReadSource(options.model));
  NIBBLE_TRY(const ChatTemplate chat, ChatTemplate::Parse(source.text, source.name));
  RenderOptions render;
  if (!options.now.empty()) {
    NIBBLE_TRY(render.now, ParseTime(options.now));
  }
  if (options.jsonl) return RunRecords(chat, render);
  NIBBLE_TRY(const OrderedJson variables, Variables(options, source));
  NIBBLE_TRY(const std::string text, chat.Render(variables, render));
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

std::function<Status()> Setup(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "model folder, .gguf file, or a template file (.jinja)")->required();
  app.add_option("--messages", options->messages, "JSON file: a list of {role, content}, or a record as for --jsonl");
  app.add_option("--tools", options->tools, "JSON file: the list of tools");
  app.add_flag("--add-generation-prompt", options->add_generation_prompt, "end with the start of the assistant's answer");
  app.add_option("--set", options->set, "name=JSON: a variable of the template, e.g. enable_thinking=false")->take_all();
  app.add_option("--now", options->now, "date that the template sees, e.g. 2024-07-26 (default: now)");
  app.add_flag("--jsonl", options->jsonl,
               "each input line is {messages, tools, extra, add_generation_prompt, bos_token, eos_token}; each output line "
               "{rendered} or {error}");
  return [options] { return Run(*options); };
}

}  // namespace

const Command* template_command() {
  static const Command command = {"template", "messages -> prompt, by the model's chat template",
                                  "nibble template models/tales-5m --messages chat.json --add-generation-prompt", 82, Setup};
  return &command;
}

}  // namespace nibble
