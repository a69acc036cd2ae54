// SPDX-License-Identifier: Apache-2.0
// nibble plan: the memory a model needs, whether it fits here, and the context that would.
#include <algorithm>
#include <cstdio>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/table.h"
#include "engine/plan.h"
#include "eval/advice.h"

namespace nibble {
namespace {

struct PlanArguments {
  ModelOptions model;
  int64_t memory = 0;
  double max_kl = 2e-2;
  bool json = false, advise = false;
};

struct Answer {
  MemoryPlan plan;
  int64_t model_context = 0, memory = 0, available = 0, fitting_context = 0;
  bool fits = false;
};

Result<PlanOptions> MakePlanOptions(const PlanArguments& o, const ModelConfig& config, Checkpoint& checkpoint) {
  PlanOptions options{.context = o.model.context, .sequences = o.model.sequences};
  NIBBLE_TRY(const Graph graph, BuildGraph(config, 0, 1));
  NIBBLE_TRY(const std::optional<KvFormats> scheme, KvScheme(checkpoint, graph));
  NIBBLE_TRY(const std::optional<KvFormats> asked, KvFormatsOf(o.model));
  if (asked)
    options.kv_dtype = *asked;
  else if (scheme)
    options.kv_dtype = *scheme;
  return options;
}

Result<Answer> Ask(const PlanArguments& o, Checkpoint& checkpoint) {
  Answer answer;
  NIBBLE_TRY(const ModelConfig config, ConfigOf(checkpoint, MakeLoadOptions(o.model)));
  NIBBLE_TRY(const PlanOptions options, MakePlanOptions(o, config, checkpoint));
  NIBBLE_TRY(answer.plan, PlanMemory(checkpoint, config, options));
  answer.model_context = config.max_positions;
  answer.memory = o.memory > 0 ? o.memory : Cpu().memory_bytes;
  answer.available = o.memory > 0 ? o.memory : AvailableMemoryBytes();
  answer.fitting_context = ContextThatFits(answer.plan, std::max(answer.plan.context, config.max_positions), answer.available);
  answer.fits = answer.plan.total() <= answer.available;
  return answer;
}

void PrintPlanJson(const PlanArguments& o, const Checkpoint& checkpoint, const Answer& a) {
  OrderedJson parts = OrderedJson::array();
  for (const MemoryPlan::Part& part : a.plan.parts) parts.push_back({{"name", part.name}, {"bytes", part.bytes}});
  const OrderedJson json = {{"model", o.model.model},
                            {"method", checkpoint.quantization().Describe()},
                            {"from_config_alone", a.plan.from_config_alone},
                            {"parts", parts},
                            {"weights_bytes", a.plan.weights_bytes},
                            {"embedding_file_bytes", a.plan.embedding_bytes},
                            {"kv_bytes", a.plan.kv_bytes},
                            {"kv_bytes_per_position", a.plan.kv_token_bytes},
                            {"scratch_bytes", a.plan.scratch_bytes},
                            {"total_bytes", a.plan.total()},
                            {"context", a.plan.context},
                            {"batch", a.plan.sequences},
                            {"parameters", a.plan.parameters},
                            {"bits_per_weight", a.plan.weight_bits},
                            {"memory_bytes", a.memory},
                            {"available_bytes", a.available},
                            {"fits", a.fits},
                            {"fitting_context", a.fitting_context}};
  std::printf("%s\n", json.dump().c_str());
}

void PrintPlan(const Checkpoint& checkpoint, const Answer& a) {
  const MemoryPlan& plan = a.plan;
  std::printf("method      %s%s\n", checkpoint.quantization().Describe().c_str(),
              plan.from_config_alone ? " (from config.json alone)" : "");
  std::printf("parameters  %.3f B, linear layers %.2f bits per weight\n", static_cast<double>(plan.parameters) / 1e9,
              plan.weight_bits);
  std::printf("for         %lld sequence%s of %lld positions (the model has %lld)\n\n", static_cast<long long>(plan.sequences),
              plan.sequences == 1 ? "" : "s", static_cast<long long>(plan.context), static_cast<long long>(a.model_context));
  TextTable table({"part", "memory", "bytes"}, "lrr");
  for (const MemoryPlan::Part& part : plan.parts) table.Add({part.name, HumanBytes(part.bytes), std::to_string(part.bytes)});
  table.Add({"total", HumanBytes(plan.total()), std::to_string(plan.total())});
  table.Print();
  std::printf("\nembedding   %s stay in the file; only the rows used are read\nthis machine has %s, of which %s are free\n",
              HumanBytes(plan.embedding_bytes).c_str(), HumanBytes(a.memory).c_str(), HumanBytes(a.available).c_str());
  if (a.fits) {
    std::printf("it fits%s\n",
                plan.context < a.model_context ? fmt::format("; --context {} would too", a.fitting_context).c_str() : "");
  } else if (a.fitting_context > 0) {
    std::printf("it does not fit; --context %lld would\n", static_cast<long long>(a.fitting_context));
  } else {
    std::printf("it does not fit, whatever the context: weights and scratch alone take %s\n",
                HumanBytes(plan.weights_bytes + plan.state_bytes + plan.scratch_bytes).c_str());
  }
}

Status PrintAdvice(const PlanArguments& o, Checkpoint& checkpoint) {
  NIBBLE_TRY(const ModelConfig config, ConfigOf(checkpoint, MakeLoadOptions(o.model)));
  NIBBLE_TRY(const PlanOptions options, MakePlanOptions(o, config, checkpoint));
  const int64_t available = o.memory > 0 ? o.memory : AvailableMemoryBytes();
  NIBBLE_TRY(const Advice advice, Advise(checkpoint, config, options, available, o.max_kl));
  if (o.json) {
    OrderedJson rows = OrderedJson::array();
    for (const AdviceRow& row : advice.rows)
      rows.push_back({{"format", row.format.name},
                      {"bits_per_weight", row.format.bits},
                      {"kl", row.format.kl},
                      {"weights_bytes", row.weights_bytes},
                      {"total_bytes", row.total_bytes},
                      {"fits", row.fits},
                      {"good_enough", row.good_enough}});
    OrderedJson json = {{"available_bytes", available}, {"max_kl", o.max_kl}, {"formats", rows}, {"reason", advice.reason}};
    json["chosen"] = nullptr;
    if (advice.chosen >= 0) json["chosen"] = advice.rows[static_cast<size_t>(advice.chosen)].format.name;
    std::printf("%s\n", json.dump().c_str());
    return {};
  }
  TextTable table({"", "format", "bits", "weights", "in all", "fits", "KL nats", ""}, "llrrrlrl");
  for (size_t i = 0; i < advice.rows.size(); ++i) {
    const AdviceRow& row = advice.rows[i];
    table.Add({static_cast<int>(i) == advice.chosen ? ">" : "", std::string(row.format.name),
               fmt::format("{:.2f}", row.format.bits), HumanBytes(row.weights_bytes), HumanBytes(row.total_bytes),
               row.fits ? "yes" : "no", row.format.kl > 0 ? fmt::format("{:.1e}", row.format.kl) : "0",
               row.dominated ? "another has fewer bits and a smaller error" : ""});
  }
  table.Print();
  std::printf("\nK/V cache %s, scratch %s, of %s\n%s.\n", HumanBytes(advice.kv_bytes).c_str(),
              HumanBytes(advice.scratch_bytes).c_str(), HumanBytes(available).c_str(), advice.reason.c_str());
  std::printf(
      "KL is of the bundled 5 M model (rounding to nearest); larger models lose less, and calibrated checkpoints (GPTQ, AWQ) of "
      "the same bits "
      "lose less still: docs/choosing.md.\n");
  return {};
}

Status RunPlan(const PlanArguments& o) {
  NIBBLE_TRY(const auto checkpoint, OpenCheckpointOrConfig(o.model));
  if (o.advise) return PrintAdvice(o, *checkpoint);
  NIBBLE_TRY(const Answer answer, Ask(o, *checkpoint));
  o.json ? PrintPlanJson(o, *checkpoint, answer) : PrintPlan(*checkpoint, answer);
  return {};
}

std::function<Status()> SetUpPlan(CLI::App& app) {
  auto o = std::make_shared<PlanArguments>();
  AddModelArgument(app, o->model);
  app.get_option("model")->description("hub folder, .gguf file, org/name in the hub cache, or a config.json alone");
  app.add_option("--context", o->model.context, "positions per sequence (default: the model's)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  app.add_option("--batch", o->model.sequences, "sequences at the same time")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  AddKvOptions(app, o->model);
  app.add_option("--memory", o->memory, "plan for a machine with this much free memory (8G, 512M)")
      ->transform(CLI::AsSizeValue(false));
  app.add_flag("--advise", o->advise, "which format to take: every one that nibble makes while loading, its memory and its cost");
  app.add_option("--max-kl", o->max_kl, "with --advise: the KL divergence in nats that is acceptable")->capture_default_str();
  app.add_option("--architecture-as", o->model.architecture_as, "treat the model as this model_type");
  app.add_flag("--strict", o->model.strict, "unknown keys in quantization configs are errors");
  app.add_flag("--json", o->json, "one JSON object on stdout");
  return [o] { return RunPlan(*o); };
}

}  // namespace

const Command* plan_command() {
  static const Command command = {"plan", "the memory a model needs and whether it fits here",
                                  "nibble plan MODEL --context 8192 --batch 4", 70, SetUpPlan};
  return &command;
}

}  // namespace nibble
