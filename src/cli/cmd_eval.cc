// SPDX-License-Identifier: Apache-2.0
// nibble eval: perplexity of a text, divergence from another model, or raw logits of given tokens.
#include <cstdio>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "cli/text_file.h"
#include "eval/perplexity.h"
#include "io/safetensors.h"
#include "io/safetensors_writer.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct EvalArguments {
  ModelOptions model;
  std::string text, tokens, save_logits, against, protocol = "nibble";
  int64_t context = 256, windows = 0;
  bool json = false;
};

Result<std::vector<std::vector<int32_t>>> ReadTokens(const std::string& path) {
  NIBBLE_TRY(const SafetensorsFiles files, OpenSafetensors(path));
  const StoredTensor* tokens = files.tensors.Find("tokens");
  if (!tokens) return Corrupt("{}: no tensor \"tokens\"; wanted i32 [rows, length]", path);
  const TensorView& view = tokens->view;
  if ((view.dtype != DType::kI32 && view.dtype != DType::kI64) || view.rank() != 2 || view.elems() == 0)
    return Corrupt("{}: tensor \"tokens\" is {} {}, wanted i32 [rows, length]", path, DTypeName(view.dtype), view.shape.ToString());
  std::vector<std::vector<int32_t>> rows(static_cast<size_t>(view.dim(0)));
  for (int64_t i = 0; i < view.elems(); ++i) {
    int64_t id = 0;
    std::memcpy(&id, view.data + i * DTypeBytes(view.dtype), static_cast<size_t>(DTypeBytes(view.dtype)));
    if (view.dtype == DType::kI32) id = static_cast<int32_t>(id);
    if (id < INT32_MIN || id > INT32_MAX) return Corrupt("{}: token id {} at row {}", path, id, i / view.dim(1));
    rows[static_cast<size_t>(i / view.dim(1))].push_back(static_cast<int32_t>(id));
  }
  return rows;
}

constexpr int64_t kMostBatchRows = 1024;

Status SaveLogits(EvalArguments options) {
  if (options.save_logits.empty()) return Usage("--tokens needs --save-logits OUT.safetensors");
  NIBBLE_TRY(const auto rows, ReadTokens(options.tokens));
  const auto count = static_cast<int64_t>(rows.size()), length = static_cast<int64_t>(rows[0].size());
  options.model.context = std::max(options.model.context, length);
  // One step, as the tools compute a batch: dynamic scales of whole tensors span its rows. Larger files go row by row.
  const bool batch = count * length <= kMostBatchRows;
  if (batch) {
    options.model.batch_scales = true;
    options.model.sequences = count;
    options.model.batch_rows = options.model.logits_rows = count * length;
  }
  NIBBLE_TRY(const auto engine, OpenEngine(options.model));
  const int64_t vocab = engine->vocab();
  NIBBLE_TRY(auto writer,
             SafetensorsWriter::CreateFile(options.save_logits, {{"logits", DType::kF32, Shape{count, length, vocab}}}));
  Status status;
  const int64_t each = batch ? count : 1;
  for (int64_t row = 0; row < count && status; row += each) {
    std::vector<float> logits(static_cast<size_t>(each * length * vocab));
    NIBBLE_RETURN_IF_ERROR(ForEachLogits(*engine, {rows.begin() + row, rows.begin() + row + each},
                                         [&](int64_t r, int64_t position, const float* values) {
                                           std::copy_n(values, vocab, logits.data() + (r * length + position) * vocab);
                                         }));
    status = writer.Write("logits", std::as_bytes(std::span(logits)));
  }
  NIBBLE_RETURN_IF_ERROR(status);
  return writer.Commit();
}

void PrintEval(const EvalResult& r, const EvalArguments& o, const Engine& engine) {
  if (o.json) {
    OrderedJson json = {{"model", o.model.model},
                        {"method", engine.checkpoint().quantization().Describe()},
                        {"perplexity", r.perplexity},
                        {"stderr", r.perplexity_stderr},
                        {"tokens", r.tokens},
                        {"context", o.context},
                        {"seconds", r.seconds},
                        {"kv_cache_dtype", engine.kv_dtype().name()},
                        {"activations", o.model.activations}};
    if (r.against) {
      json["kl"] = {{"mean", r.against->mean},
                    {"stderr", r.against->mean_stderr},
                    {"median", r.against->median},
                    {"p99", r.against->p99},
                    {"max", r.against->max}};
      json["top1_agreement"] = r.against->top1_agreement;
      json["against"] = o.against;
    }
    std::printf("%s\n", json.dump().c_str());
    return;
  }
  std::printf("perplexity      %.4f +- %.4f   (%lld tokens, windows of %lld, %.1f s)\n", r.perplexity, r.perplexity_stderr,
              static_cast<long long>(r.tokens), static_cast<long long>(o.context), r.seconds);
  if (!r.against) return;
  std::printf("against         %s\n", o.against.c_str());
  std::printf("KL divergence   mean %.3e +- %.1e   median %.3e   p99 %.3e   max %.3e nats\n", r.against->mean,
              r.against->mean_stderr, r.against->median, r.against->p99, r.against->max);
  std::printf("same best token %.2f %%\n", 100 * r.against->top1_agreement);
}

Status RunEval(EvalArguments options) {
  options.model.kv_auto = DType::kF32;
  if (!options.tokens.empty()) return SaveLogits(options);
  if (options.text.empty()) return Usage("give --text FILE (perplexity) or --tokens FILE --save-logits OUT");
  NIBBLE_TRY(const std::string text, ReadTextForModel(options.text));
  NIBBLE_TRY(const auto tokenizer, OpenTokenizer(options.model.model));
  NIBBLE_TRY(const auto ids, tokenizer->Encode(text, false));
  EvalOptions eval{.context = options.context, .bos = tokenizer->bos_id(), .max_windows = options.windows};
  if (options.protocol == "llama.cpp") eval.protocol = EvalProtocol::kLlamaCpp;
  NIBBLE_TRY(const auto windows, MakeWindows(ids, eval));
  options.model.context = options.context;
  options.model.sequences = CeilDiv(options.model.batch_rows, options.context) + 1;
  options.model.logits_rows = options.model.batch_rows;
  NIBBLE_TRY(const auto engine, OpenEngine(options.model));
  std::unique_ptr<Engine> other;
  if (!options.against.empty()) {
    ModelOptions against = options.model;
    against.model = options.against;
    against.quantization.clear();  // the standard runs as it is
    against.kv_cache_dtype = "auto", against.kv_cache_dtype_k.clear(), against.kv_cache_dtype_v.clear();
    against.activations = "f32";
    NIBBLE_TRY(other, OpenEngine(against));
  }
  const auto bar = MakeProgressBar();
  NIBBLE_TRY(const EvalResult result, Evaluate(*engine, other.get(), windows, bar.get()));
  EndProgressLine();
  PrintEval(result, options, *engine);
  return {};
}

std::function<Status()> SetUpEval(CLI::App& app) {
  auto o = std::make_shared<EvalArguments>();
  AddModelArgument(app, o->model);
  app.add_option("--text", o->text, "text file to predict");
  app.add_option("--context", o->context, "targets per window")->capture_default_str();
  app.add_option("--windows", o->windows, "stop after this many windows (0: all)");
  app.add_option("--against", o->against, "model whose predictions are the standard: adds KL divergence and agreement");
  app.add_option("--protocol", o->protocol, "nibble, or llama.cpp (scores the second half of each window)")
      ->check(CLI::IsMember({"nibble", "llama.cpp"}));
  app.add_option(
      "--tokens", o->tokens,
      "safetensors file with `tokens` i32 [rows, length], instead of a text; up to 1024 tokens are computed as one batch");
  app.add_option("--save-logits", o->save_logits, "with --tokens: write `logits` f32 [rows, length, vocabulary] here");
  app.add_flag("--json", o->json, "one JSON object on stdout");
  AddRunOptions(app, o->model);
  return [o] { return RunEval(*o); };
}

}  // namespace

const Command* eval_command() {
  static const Command command = {"eval", "perplexity of a text, KL divergence from another model",
                                  "nibble eval MODEL-4bit --text book.txt --against MODEL", 30, SetUpEval};
  return &command;
}

}  // namespace nibble
