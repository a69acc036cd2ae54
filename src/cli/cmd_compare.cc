// SPDX-License-Identifier: Apache-2.0
// nibble compare: one row per model, size, speed and quality side by side; the first model is the standard.
#include <cstdio>
#include <filesystem>
#include <tuple>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "cli/text_file.h"
#include "eval/perplexity.h"
#include "eval/speed.h"

namespace nibble {
namespace {

struct CompareArguments {
  ModelOptions model;
  std::vector<std::string> models;
  std::string text;
  // Quality is what the files mean; speed is what `run` gives. --activations sets both.
  std::string quality_activations = "f32", speed_activations = "int16";
  int64_t context = 256, windows = 16;
  SpeedOptions speed{.prompt = 256, .generate = 64, .rounds = 3};
  bool json = false;
};

struct Row {
  std::string model, method;
  double bits = 0;
  int64_t disk_bytes = 0, memory_bytes = 0;
  SpeedResult speed;
  EvalResult quality;
};

int64_t DiskBytes(const Checkpoint& checkpoint) { return checkpoint.tensors().total_bytes(); }

void PrintTable(const std::vector<Row>& rows, const CompareArguments& o) {
  size_t width = 5;
  for (const Row& row : rows) width = std::max(width, row.model.size());
  std::printf("%-*s %6s %9s %9s %10s %6s %9s %6s %11s %8s %10s %7s\n", static_cast<int>(width), "model", "bits", "disk MiB",
              "mem MiB", "pp tok/s", "x", "tg tok/s", "x", "perplexity", "rise", "KL", "agree");
  for (const Row& row : rows) {
    const Row& first = rows[0];
    std::printf("%-*s %6.2f %9.2f %9.2f %10.0f %6.2f %9.0f %6.2f %11.4f %+7.2f%%", static_cast<int>(width), row.model.c_str(),
                row.bits, static_cast<double>(row.disk_bytes) / (1 << 20), static_cast<double>(row.memory_bytes) / (1 << 20),
                row.speed.prefill_tok_s.median, row.speed.prefill_tok_s.median / first.speed.prefill_tok_s.median,
                row.speed.decode_tok_s.median, row.speed.decode_tok_s.median / first.speed.decode_tok_s.median,
                row.quality.perplexity, 100 * (row.quality.perplexity / first.quality.perplexity - 1));
    if (row.quality.against)
      std::printf(" %10.2e %6.1f%%\n", row.quality.against->mean, 100 * row.quality.against->top1_agreement);
    else
      std::printf(" %10s %7s\n", "-", "-");
  }
  std::printf(
      "%s, %s, %d threads; bits: of the linear layers; mem: packed weights and K/V of %lld positions; pp%lld, tg%lld: medians of "
      "%d interleaved rounds, activations %s;\n"
      "perplexity +- %.2f on %lld tokens, activations %s; KL (nats) and agreement of the best token against the first model\n",
      Cpu().name.c_str(), IsaName(Cpu().isa), rows[0].speed.roofline.threads,
      static_cast<long long>(std::max(o.context, o.speed.prompt)), static_cast<long long>(o.speed.prompt),
      static_cast<long long>(o.speed.generate), o.speed.rounds, o.speed_activations.c_str(), rows[0].quality.perplexity_stderr,
      static_cast<long long>(rows[0].quality.tokens), o.quality_activations.c_str());
}

OrderedJson CompareJson(const Row& row, const CompareArguments& o) {
  OrderedJson json = {{"model", row.model},
                      {"method", row.method},
                      {"bits_per_weight", row.bits},
                      {"disk_bytes", row.disk_bytes},
                      {"memory_bytes", row.memory_bytes},
                      {"speed_activations", o.speed_activations},
                      {"quality_activations", o.quality_activations},
                      {"prefill_tok_s", row.speed.prefill_tok_s.median},
                      {"decode_tok_s", row.speed.decode_tok_s.median},
                      {"perplexity", row.quality.perplexity},
                      {"stderr", row.quality.perplexity_stderr},
                      {"tokens", row.quality.tokens}};
  if (row.quality.against) {
    const Divergence& d = *row.quality.against;
    json["kl"] = {{"mean", d.mean}, {"stderr", d.mean_stderr}, {"median", d.median}, {"p99", d.p99}, {"max", d.max}};
    json["top1_agreement"] = d.top1_agreement;
  }
  return json;
}

// "MODEL@nf4": the model, quantized while loading.
std::pair<std::string, std::string> SplitFormat(const std::string& model) {
  const size_t at = model.rfind('@');
  if (at == std::string::npos || model.find('/', at) != std::string::npos || std::filesystem::exists(model)) return {model, ""};
  return {model.substr(0, at), model.substr(at + 1)};
}

Result<std::unique_ptr<Engine>> OpenOne(const CompareArguments& o, const std::string& model, bool for_quality) {
  ModelOptions options = o.model;
  std::tie(options.model, options.quantization) = SplitFormat(model);
  options.context = std::max(o.context, ContextFor(o.speed, options.batch_rows));
  options.kv_auto = for_quality ? DType::kF32 : DType::kBF16;
  options.activations = for_quality ? o.quality_activations : o.speed_activations;
  if (for_quality) {
    options.logits_rows = options.batch_rows;
    options.sequences = CeilDiv(options.batch_rows, o.context) + 1;
  } else {
    options.sequences = 2;
    options.share_prefixes = false;
  }
  return OpenEngine(options);
}

Result<std::vector<Row>> Quality(const CompareArguments& o, Progress* progress) {
  NIBBLE_TRY(const std::string text, ReadTextForModel(o.text));
  NIBBLE_TRY(const auto tokenizer, OpenTokenizer(SplitFormat(o.models[0]).first));
  NIBBLE_TRY(const auto ids, tokenizer->Encode(text, false));
  NIBBLE_TRY(const auto windows, MakeWindows(ids, {.context = o.context, .bos = tokenizer->bos_id(), .max_windows = o.windows}));
  std::vector<Row> rows;
  std::unique_ptr<Engine> first;
  for (const std::string& model : o.models) {
    NIBBLE_TRY(auto engine, OpenOne(o, model, true));
    Row row{.model = model,
            .method = engine->checkpoint().quantization().Describe(),
            .bits = engine->plan().weight_bits,
            .disk_bytes = DiskBytes(engine->checkpoint())};
    NIBBLE_TRY_IN(model, row.quality, Evaluate(*engine, first.get(), windows, progress));
    rows.push_back(std::move(row));
    if (!first) first = std::move(engine);
  }
  return rows;
}

Status RunCompare(const CompareArguments& o) {
  if (o.text.empty()) return Usage("give --text FILE, the text that quality is measured on");
  const auto bar = MakeProgressBar();
  NIBBLE_TRY(std::vector<Row> rows, Quality(o, bar.get()));
  std::vector<std::unique_ptr<Engine>> engines;
  std::vector<Engine*> pointers;
  for (size_t i = 0; i < o.models.size(); ++i) {
    NIBBLE_TRY(auto engine, OpenOne(o, o.models[i], false));
    rows[i].memory_bytes = engine->packed_bytes() + engine->plan().state_bytes + engine->plan().kv_fixed_bytes +
                           RoundUp(engine->context(), kPageTokens) * engine->plan().kv_token_bytes;
    pointers.push_back(engine.get());
    engines.push_back(std::move(engine));
  }
  NIBBLE_TRY(const auto speeds, MeasureSpeed(pointers, o.speed, bar.get()));
  for (size_t i = 0; i < rows.size(); ++i) rows[i].speed = speeds[i];
  EndProgressLine();
  if (o.json) {
    OrderedJson json = OrderedJson::array();
    for (const Row& row : rows) json.push_back(CompareJson(row, o));
    std::printf("%s\n", json.dump().c_str());
  } else {
    PrintTable(rows, o);
  }
  return {};
}

std::function<Status()> SetUpCompare(CLI::App& app) {
  auto o = std::make_shared<CompareArguments>();
  app.add_option(
         "models", o->models,
         "models; the first is the standard the others are measured against; MODEL@nf4 quantizes a float model while loading")
      ->required()
      ->expected(1, 64);
  app.add_option("--text", o->text, "text file to predict");
  app.add_option("--context", o->context, "targets per window")->capture_default_str();
  app.add_option("--windows", o->windows, "windows of the text (0: all)")->capture_default_str();
  app.add_option("-p,--n-prompt", o->speed.prompt, "prompt tokens of the speed test")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("-n,--n-gen", o->speed.generate, "generated tokens of the speed test")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("-r,--rounds", o->speed.rounds, "rounds of the speed test")->capture_default_str()->check(CLI::Range(1, 1000));
  app.add_flag("--json", o->json, "a JSON list on stdout");
  AddRunOptions(app, o->model);
  CLI::Option* activations = app.get_option("--activations")->default_str("f32 for quality, int16 for speed");
  return [o, activations] {
    if (activations->count() > 0) o->quality_activations = o->speed_activations = o->model.activations;
    return RunCompare(*o);
  };
}

}  // namespace

const Command* compare_command() {
  static const Command command = {"compare", "size, memory, speed and quality of models side by side",
                                  "nibble compare MODEL MODEL-8bit MODEL-4bit --text book.txt", 40, SetUpCompare};
  return &command;
}

}  // namespace nibble
