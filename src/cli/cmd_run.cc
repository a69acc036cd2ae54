// SPDX-License-Identifier: Apache-2.0
// nibble run: complete a text, or chat.
#include <cstdio>
#include <iostream>
#include <iterator>

#include <fmt/ranges.h>

#include "base/log.h"
#include "cli/chat_session.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/run_settings.h"
#include "cli/standard_input.h"
#include "cli/template_arguments.h"
#include "cli/terminal.h"
#include "io/hub.h"
#include "methods/checkpoint.h"

namespace nibble {
namespace {

struct RunArguments {
  ModelOptions model;
  std::string prompt, prompt_ids, system;
  std::vector<std::string> stop;
  std::vector<std::string> template_args;
  std::string tools, chat_template;
  SamplingFlags sampling;
  int64_t max_tokens = -1;
  bool chat = false, no_chat = false, no_think = false, ids = false, ignore_eos = false, json = false, has_prompt = false;
};

Result<std::vector<int32_t>> ParseIds(const std::string& text) {
  std::vector<int32_t> ids;
  size_t at = 0;
  while (at < text.size()) {
    size_t used = 0;
    long value = -1;
    try {
      value = std::stol(text.substr(at), &used);
    } catch (const std::exception&) {
      return Usage("--prompt-ids \"{}\": wanted numbers separated by commas", text);
    }
    if (value < 0 || value > INT32_MAX) return Usage("--prompt-ids: {} is no token id", value);
    ids.push_back(static_cast<int32_t>(value));
    at += used;
    if (at < text.size() && text[at] != ',') return Usage("--prompt-ids \"{}\": wanted numbers separated by commas", text);
    ++at;
  }
  return ids;
}

std::string Summary(const Engine& engine, const Generation& g, const RunArguments& o) {
  const double speed =
      g.decode_seconds > 0 && g.tokens.size() > 1 ? static_cast<double>(g.tokens.size() - 1) / g.decode_seconds : 0;
  return fmt::format(
      "{}, {:.2f} bits per weight, activations {}, K/V {}: {} prompt tokens at {:.1f} tok/s, {} tokens at {:.1f} tok/s, ended by "
      "{}",
      engine.checkpoint().quantization().Describe(), engine.plan().weight_bits, o.model.activations, engine.kv_dtype().name(),
      g.prompt_tokens, g.prompt_seconds > 0 ? static_cast<double>(g.prompt_tokens) / g.prompt_seconds : 0.0, g.tokens.size(), speed,
      FinishName(g.finish));
}

void PrintRunJson(const Engine& engine, const Generation& g) {
  const OrderedJson json = {{"text", g.text},
                            {"ids", g.tokens},
                            {"finish", FinishName(g.finish)},
                            {"prompt_tokens", g.prompt_tokens},
                            {"prompt_seconds", g.prompt_seconds},
                            {"decode_seconds", g.decode_seconds},
                            {"method", engine.checkpoint().quantization().Describe()},
                            {"bits_per_weight", engine.plan().weight_bits}};
  std::printf("%s\n", json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace).c_str());
}

void PrintResult(const Engine& engine, const Generation& g, const RunArguments& o) {
  if (o.json)
    PrintRunJson(engine, g);
  else if (o.ids)
    fmt::print("{}\n", fmt::join(g.tokens, ","));
  else
    std::printf("\n");
  std::fflush(stdout);
  std::fprintf(stderr, "%s\n", Summary(engine, g, o).c_str());
}

Result<std::vector<int32_t>> PromptIds(const RunArguments& o, const Tokenizer* tokenizer) {
  if (!o.prompt_ids.empty()) return ParseIds(o.prompt_ids);
  std::string text = o.prompt;
  if (!o.has_prompt) {
    NIBBLE_TRY(text, ReadStandardInput());
  }
  return tokenizer->Encode(text, true);
}

Status Complete(const RunArguments& o, Engine& engine, const Tokenizer* tokenizer, const GenerateOptions& generate) {
  NIBBLE_TRY(auto prompt, PromptIds(o, tokenizer));
  const bool stream = !o.json && !o.ids;
  if (stream && o.has_prompt) std::printf("%s", o.prompt.c_str());
  NIBBLE_TRY(const Generation g, Generate(engine, tokenizer, std::move(prompt), generate, [&](std::string_view text) {
               if (!stream) return;
               std::fwrite(text.data(), 1, text.size(), stdout);
               std::fflush(stdout);
             }));
  PrintResult(engine, g, o);
  return {};
}

Status Chat(const RunArguments& o, Engine& engine, const Tokenizer& tokenizer, ChatFormat format, const GenerateOptions& generate) {
  ChatSession session(engine, tokenizer, std::move(format), generate, o.system);
  if (!o.has_prompt && (o.chat || StdinIsTerminal())) return session.Interact();
  std::string prompt = o.prompt;
  if (!o.has_prompt) {
    NIBBLE_TRY(prompt, ReadStandardInput());
  }
  NIBBLE_TRY(const Generation g, session.Say(prompt, [&](std::string_view text) {
    if (o.json || o.ids) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }));
  PrintResult(engine, g, o);
  return {};
}

// The model's template, when the prompt is to go through it. A template that never looks at a message's role only joins texts: the
// model is no chat model, and its text is completed unless --chat asks for the template.
Result<std::optional<ChatFormat>> ChooseChat(const RunArguments& o) {
  const bool asked = o.chat || !o.chat_template.empty() || !o.tools.empty();
  if (o.no_chat || !o.prompt_ids.empty()) return std::optional<ChatFormat>();
  NIBBLE_TRY(const ModelLocation location, ResolveModel(o.model.model));
  auto source = FindChatTemplate(location.path, o.chat_template, !o.tools.empty());
  if (!source && (asked || source.error().code != Code::kNotFound)) return tl::unexpected(std::move(source.error()));
  if (!source || (!asked && source->text.find("role") == std::string::npos)) {
    std::fprintf(
        stderr, "completion of text: %s\n",
        source ? fmt::format("{} tells no roles apart, so this is no chat model (--chat uses it anyway)", source->name).c_str()
               : source.error().message.c_str());
    return std::optional<ChatFormat>();
  }
  NIBBLE_TRY(ChatTemplate chat, ChatTemplate::Parse(source->text, source->name));
  ChatFormat format{std::move(chat), std::move(*source), nullptr, o.template_args, o.no_think};
  if (!o.tools.empty()) {
    NIBBLE_TRY(format.tools, ReadTools(o.tools));
  }
  if (o.no_think && format.source.text.find("thinking") == std::string::npos)
    Warn("--no-think: {} has no switch for thinking", format.source.name);
  std::fprintf(stderr, "chat: %s (--no-chat completes text)\n", format.source.name.c_str());
  return std::optional(std::move(format));
}

void CheckVocabulary(const Tokenizer& tokenizer, const Engine& engine) {
  if (tokenizer.vocab_size() <= engine.vocab()) return;
  Warn("the tokenizer has {} tokens, the model's embedding {}: prompts with tokens from {} on will be refused",
       tokenizer.vocab_size(), engine.vocab(), engine.vocab());
}

Status RunRun(const RunArguments& o) {
  if (o.max_tokens < -1) return Usage("--max-tokens is {}, wanted 0 or more, or -1 for no limit", o.max_tokens);
  if (o.has_prompt && !o.prompt_ids.empty()) return Usage("-p and --prompt-ids are two prompts; give one of them");
  std::unique_ptr<Tokenizer> tokenizer;
  // Ids in, ids out needs no tokenizer; anything else does.
  if (auto opened = OpenTokenizer(o.model.model))
    tokenizer = std::move(*opened);
  else if (o.prompt_ids.empty())
    return tl::unexpected(std::move(opened.error()));
  else if (!o.ids)
    return tl::unexpected(std::move(opened.error()).In("printing text needs a tokenizer (--ids prints ids)"));
  NIBBLE_TRY(std::optional<ChatFormat> chat, ChooseChat(o));
  NIBBLE_TRY(const auto engine, OpenEngine(o.model));
  if (tokenizer) CheckVocabulary(*tokenizer, *engine);
  const Checkpoint& checkpoint = engine->checkpoint();
  NIBBLE_TRY(const ChosenSampling sampling, ChooseSampling(o.sampling, checkpoint.generation_config()));
  NIBBLE_RETURN_IF_ERROR(CheckSampling(sampling.params));
  GenerateOptions generate{.max_tokens = o.max_tokens, .sampling = sampling.params, .stop = o.stop};
  const ChosenStops stops =
      ChooseStops(checkpoint.generation_config(), checkpoint.config(), tokenizer.get(), chat ? chat->source.text : "");
  if (!o.ignore_eos) generate.eos = stops.ids;
  std::fprintf(stderr, "ends at %s; %s\n", o.ignore_eos ? "no token (--ignore-eos)" : stops.text.c_str(),
               DescribeSampling(sampling).c_str());
  if (chat) return Chat(o, *engine, *tokenizer, std::move(*chat), generate);
  return Complete(o, *engine, tokenizer.get(), generate);
}

std::function<Status()> SetUpRun(CLI::App& app) {
  auto o = std::make_shared<RunArguments>();
  AddModelArgument(app, o->model);
  CLI::Option* prompt =
      app.add_option("-p,--prompt", o->prompt, "what the user says; text to complete where there is no chat template");
  auto* chat = app.add_flag("--chat", o->chat, "insist on the chat template; from a pipe, a turn a line");
  app.add_flag("--no-chat", o->no_chat, "complete the text as it is")->excludes(chat);
  app.add_option("--system", o->system, "system message of a chat");
  app.add_option("--tools", o->tools, "JSON file: the list of tools that a chat offers");
  AddTemplateArguments(app, o->template_args, o->no_think);
  app.add_option("--chat-template", o->chat_template, "one of the model's by name, or a file");
  app.add_option("--max-tokens", o->max_tokens, "most tokens to generate (-1: to the end of the context)");
  app.add_option("--temperature", o->sampling.temperature, "0: always the best token (the model's, else 0.8)");
  app.add_option("--top-k", o->sampling.top_k, "keep the k best (0: all; the model's, else 40)");
  app.add_option("--top-p", o->sampling.top_p, "keep the best up to this probability (the model's, else 0.95)");
  app.add_option("--min-p", o->sampling.min_p, "drop below this share of the best (the model's, else 0.05)");
  app.add_option("--repeat-penalty", o->sampling.repeat_penalty, "over 1: less of seen tokens (the model's, else 1)");
  app.add_option("--seed", o->sampling.seed, "of the sampler")->capture_default_str();
  app.add_option("--stop", o->stop, "end before this text (repeatable)");
  app.add_flag("--ignore-eos", o->ignore_eos, "go on after an end-of-text token");
  app.add_option("--prompt-ids", o->prompt_ids, "prompt as token ids: 1,2,3");
  app.add_flag("--ids", o->ids, "print the generated ids instead of text");
  app.add_option("--context", o->model.context, "positions (default: the model's, cut to what memory allows)");
  app.add_flag("--json", o->json, "one JSON object on stdout instead of streamed text");
  o->model.activations = "int16";  // as fast as it gets without a measurable cost: docs/activations.md
  AddRunOptions(app, o->model);
  return [o, prompt] {
    o->has_prompt = prompt->count() > 0;
    return RunRun(*o);
  };
}

}  // namespace

const Command* run_command() {
  static const Command command = {"run", "complete a text or chat",
                                  "nibble run models/tales-5m -p 'Once upon a time' --max-tokens 100 --seed 1", 10, SetUpRun};
  return &command;
}

}  // namespace nibble
