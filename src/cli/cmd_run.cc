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
#include "cli/standard_input.h"
#include "cli/terminal.h"
#include "methods/checkpoint.h"

namespace nibble {
namespace {

struct Options {
  ModelOptions model;
  std::string prompt, prompt_ids, system;
  std::vector<std::string> stop;
  SamplingParams sampling{.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
  int64_t max_tokens = -1;
  bool chat = false, ids = false, ignore_eos = false, json = false, has_prompt = false;
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

// Tokens that end a text: generation_config.json's (one or a list), else the tokenizer's own.
std::vector<int32_t> EosIds(const Engine& engine, const Tokenizer* tokenizer) {
  std::vector<int32_t> eos;
  if (tokenizer) eos = tokenizer->eos_ids();
  for (const Json* json : {&engine.checkpoint().generation_config(), &engine.checkpoint().config()}) {
    const Json* ids = JsonFind(*json, "eos_token_id");
    if (!ids) continue;
    for (const Json& id : ids->is_array() ? *ids : Json::array({*ids}))
      if (id.is_number_integer()) eos.push_back(id.get<int32_t>());
    break;
  }
  return eos;
}

std::string Summary(const Engine& engine, const Generation& g, const Options& o) {
  const double speed =
      g.decode_seconds > 0 && g.tokens.size() > 1 ? static_cast<double>(g.tokens.size() - 1) / g.decode_seconds : 0;
  return fmt::format(
      "{}, {:.2f} bits per weight, activations {}, K/V {}: {} prompt tokens at {:.1f} tok/s, {} tokens at {:.1f} tok/s, ended by "
      "{}",
      engine.checkpoint().quantization().Describe(), engine.plan().weight_bits, o.model.activations == "int8" ? "int8" : "f32",
      engine.kv_dtype().name(), g.prompt_tokens,
      g.prompt_seconds > 0 ? static_cast<double>(g.prompt_tokens) / g.prompt_seconds : 0.0, g.tokens.size(), speed,
      FinishName(g.finish));
}

void PrintJson(const Engine& engine, const Generation& g) {
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

Result<std::vector<int32_t>> PromptIds(const Options& o, const Tokenizer* tokenizer) {
  if (!o.prompt_ids.empty()) return ParseIds(o.prompt_ids);
  std::string text = o.prompt;
  if (!o.has_prompt) {
    NIBBLE_TRY(text, ReadStandardInput());
  }
  return tokenizer->Encode(text, true);
}

Status Complete(const Options& o, Engine& engine, const Tokenizer* tokenizer, const GenerateOptions& generate) {
  NIBBLE_TRY(auto prompt, PromptIds(o, tokenizer));
  const bool stream = !o.json && !o.ids;
  if (stream && o.has_prompt) std::printf("%s", o.prompt.c_str());
  NIBBLE_TRY(const Generation g, Generate(engine, tokenizer, std::move(prompt), generate, [&](std::string_view text) {
               if (!stream) return;
               std::fwrite(text.data(), 1, text.size(), stdout);
               std::fflush(stdout);
             }));
  if (o.json)
    PrintJson(engine, g);
  else if (o.ids)
    fmt::print("{}\n", fmt::join(g.tokens, ","));
  else
    std::printf("\n");
  std::fflush(stdout);
  std::fprintf(stderr, "%s\n", Summary(engine, g, o).c_str());
  return {};
}

Status Chat(const Options& o, Engine& engine, const Tokenizer& tokenizer, const GenerateOptions& generate) {
  NIBBLE_TRY(ChatFormat format, OpenChatFormat(o.model.model));
  ChatSession session(engine, tokenizer, std::move(format), generate, o.system);
  if (!o.has_prompt) return session.Interact();
  std::fprintf(stderr, "chat: the prompt goes through the template of %s\n", o.model.model.c_str());
  NIBBLE_TRY(const Generation g, session.Say(o.prompt, [&](std::string_view text) {
    if (o.json) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }));
  if (o.json)
    PrintJson(engine, g);
  else
    std::printf("\n");
  std::fprintf(stderr, "%s\n", Summary(engine, g, o).c_str());
  return {};
}

Status Run(const Options& o) {
  NIBBLE_RETURN_IF_ERROR(CheckSampling(o.sampling));
  std::unique_ptr<Tokenizer> tokenizer;
  // Ids in, ids out needs no tokenizer; anything else does.
  if (auto opened = OpenTokenizer(o.model.model))
    tokenizer = std::move(*opened);
  else if (o.prompt_ids.empty() || !o.ids)
    return tl::unexpected(std::move(opened.error()));
  NIBBLE_TRY(const auto engine, OpenEngine(o.model));
  GenerateOptions generate{.max_tokens = o.max_tokens, .sampling = o.sampling, .stop = o.stop};
  if (!o.ignore_eos) generate.eos = EosIds(*engine, tokenizer.get());
  const bool interactive = !o.has_prompt && o.prompt_ids.empty() && StdinIsTerminal();
  if (o.chat || interactive) return Chat(o, *engine, *tokenizer, generate);
  return Complete(o, *engine, tokenizer.get(), generate);
}

std::function<Status()> Setup(CLI::App& app) {
  auto o = std::make_shared<Options>();
  AddModelArgument(app, o->model);
  CLI::Option* prompt =
      app.add_option("-p,--prompt", o->prompt, "text to complete (with --chat: the user's message); without it: chat, or stdin");
  app.add_flag("--chat", o->chat, "use the model's chat template");
  app.add_option("--system", o->system, "system message of a chat");
  app.add_option("--max-tokens", o->max_tokens, "most tokens to generate (-1: to the end of the context)");
  app.add_option("--temperature", o->sampling.temperature, "0: always the best token")->capture_default_str();
  app.add_option("--top-k", o->sampling.top_k, "keep the k best (0: all)")->capture_default_str();
  app.add_option("--top-p", o->sampling.top_p, "keep the best up to this probability")->capture_default_str();
  app.add_option("--min-p", o->sampling.min_p, "drop below this share of the best")->capture_default_str();
  app.add_option("--repeat-penalty", o->sampling.repeat_penalty, "over 1: seen tokens become less likely")->capture_default_str();
  app.add_option("--seed", o->sampling.seed, "of the sampler")->capture_default_str();
  app.add_option("--stop", o->stop, "end before this text (repeatable)");
  app.add_flag("--ignore-eos", o->ignore_eos, "go on after an end-of-text token");
  app.add_option("--prompt-ids", o->prompt_ids, "prompt as token ids: 1,2,3");
  app.add_flag("--ids", o->ids, "print the generated ids instead of text");
  app.add_option("--context", o->model.context, "positions (default: the model's, cut to what memory allows)");
  app.add_flag("--json", o->json, "one JSON object on stdout instead of streamed text");
  AddRunOptions(app, o->model);
  return [o, prompt] {
    o->has_prompt = prompt->count() > 0;
    return Run(*o);
  };
}

}  // namespace

const Command* run_command() {
  static const Command command = {"run", "complete a text or chat",
                                  "nibble run models/tales-5m -p 'Once upon a time' --max-tokens 100 --seed 1", 10, Setup};
  return &command;
}

}  // namespace nibble
