// SPDX-License-Identifier: Apache-2.0
// nibble template: messages -> the prompt that a model's chat template makes of them.
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cli/command.h"
#include "cli/standard_input.h"
#include "cli/template_arguments.h"
#include "io/hub.h"
#include "io/json.h"
#include "tokenizers/chat_template.h"
#include "tokenizers/chat_source.h"

namespace nibble {
namespace {

struct TemplateArguments {
  std::string model, messages, tools, now, name;
  std::vector<std::string> set, set_too;
  bool add_generation_prompt = false, jsonl = false, no_think = false;
};

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return IoError(errno, path);
  return std::string{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// A model, or what needs no model: a template file by itself, a folder with no more than the tokenizer's files.
Result<std::string> Locate(const std::string& model) {
  std::error_code ignored;
  if (!model.ends_with(".gguf") && std::filesystem::is_regular_file(model, ignored)) return model;
  for (const char* name : {"/chat_template.jinja", "/tokenizer_config.json"}) {
    if (std::filesystem::exists(model + name, ignored)) return model;
  }
  NIBBLE_TRY(const ModelLocation location, ResolveModel(model));
  return location.path;
}

Result<OrderedJson> ReadOrdered(const std::string& path) {
  NIBBLE_TRY(const std::string text, ReadFile(path));
  return ParseOrderedJson(text, path);
}

Result<OrderedJson> Variables(const TemplateArguments& options, const ChatSource& source) {
  if (options.messages.empty()) return Fail(Code::kUsage, "give --messages FILE.json, or --jsonl with records on standard input");
  NIBBLE_TRY(OrderedJson messages, ReadOrdered(options.messages));
  OrderedJson record = ChatRecord(source, nullptr);
  if (messages.is_object())
    record.update(messages, true);
  else
    record["messages"] = std::move(messages);
  if (!options.tools.empty()) {
    NIBBLE_TRY(record["tools"], ReadTools(options.tools));
  }
  if (options.add_generation_prompt) record["add_generation_prompt"] = true;
  NIBBLE_TRY(OrderedJson variables, VariablesOfRecord(record));
  NIBBLE_RETURN_IF_ERROR(SetTemplateArguments(options.set, options.no_think, variables));
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

Status RunTemplate(const TemplateArguments& options) {
  NIBBLE_TRY(const std::string path, Locate(options.model));
  NIBBLE_TRY(const ChatSource source, FindChatTemplate(path, options.name, !options.tools.empty()));
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

std::function<Status()> SetUpTemplate(CLI::App& app) {
  auto options = std::make_shared<TemplateArguments>();
  app.add_option("model", options->model, "model folder, .gguf file, or a template file (.jinja)")->required();
  app.add_option("--messages", options->messages, "JSON file: a list of {role, content}, or a record as for --jsonl");
  app.add_option("--tools", options->tools, "JSON file: the list of tools");
  app.add_flag("--add-generation-prompt", options->add_generation_prompt, "end with the start of the assistant's answer");
  AddTemplateArguments(app, options->set, options->no_think);
  app.add_option("--set", options->set_too, "the same as --template-arg")->take_all();
  app.add_option("--chat-template", options->name, "one of the model's named templates, or a file instead of the model's own");
  app.add_option("--now", options->now, "date that the template sees, e.g. 2024-07-26 (default: now)");
  app.add_flag("--jsonl", options->jsonl,
               "each input line is {messages, tools, extra, add_generation_prompt, bos_token, eos_token}; each output line "
               "{rendered} or {error}");
  return [options] {
    options->set.insert(options->set.end(), options->set_too.begin(), options->set_too.end());
    return RunTemplate(*options);
  };
}

}  // namespace

const Command* template_command() {
  static const Command command = {"template", "messages -> prompt, by the model's chat template",
                                  "nibble template models/tales-5m --messages chat.json --add-generation-prompt", 82,
                                  SetUpTemplate};
  return &command;
}

}  // namespace nibble
