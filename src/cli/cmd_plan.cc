// SPDX-License-Identifier: Apache-2.0
// nibble plan: the memory a model needs, whether it fits here, and the context that would.
#include <algorithm>
#include <cstdio>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/table.h"
#include "engine/plan.h"

namespace nibble {
namespace {

struct Options {
  ModelOptions model;
  int64_t memory = 0;
  bool json = false;
};

struct Answer {
  MemoryPlan plan;
  int64_t model_context = 0, memory = 0, available = 0, fitting_context = 0;
  bool fits = false;
};

Result<Answer> Ask(const Options& o, Checkpoint& checkpoint) {
  Answer answer;
  NIBBLE_TRY(const ModelConfig config, ConfigOf(checkpoint, MakeLoadOptions(o.model)));
  PlanOptions options{.context = o.model.context, .sequences = o.model.sequences};
  NIBBLE_TRY(const DType scheme, KvScheme(checkpoint));
  if (o.model.kv_cache_dtype != "auto")
    options.kv_dtype = *ParseDType(o.model.kv_cache_dtype);
  else if (scheme != DType::kNone)
    options.kv_dtype = scheme;
  NIBBLE_TRY(answer.plan, PlanMemory(checkpoint, config, options));
  answer.model_context = config.max_positions;
  answer.memory = o.memory > 0 ? o.memory : Cpu().memory_bytes;
  answer.available = o.memory > 0 ? o.memory : AvailableMemoryBytes();
  answer.fitting_context = ContextThatFits(answer.plan, std::max(answer.plan.context, config.max_positions), answer.available);
  answer.fits = answer.plan.total() <= answer.available;
  return answer;
}

void PrintJson(const Options& o, const Checkpoint& checkpoint, const Answer& a) {
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

void Print(const Checkpoint& checkpoint, const Answer& a) {
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
                HumanBytes(plan.weights_bytes + plan.scratch_bytes).c_str());
  }
}

Status Run(const Options& o) {
  NIBBLE_TRY(const auto checkpoint, OpenCheckpointOrConfig(o.model));
  NIBBLE_TRY(const Answer answer, Ask(o, *checkpoint));
  o.json ? PrintJson(o, *checkpoint, answer) : Print(*checkpoint, answer);
  return {};
}

std::function<Status()> Setup(CLI::App& app) {
  auto o = std::make_shared<Options>();
  AddModelArgument(app, o->model);
  app.get_option("model")->description("hub folder, .gguf file, org/name in the hub cache, or a config.json alone");
  app.add_option("--context", o->model.context, "positions per sequence (default: the model's)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  app.add_option("--batch", o->model.sequences, "sequences at the same time")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  app.add_option("--kv-cache-dtype", o->model.kv_cache_dtype, "auto, f32, bf16 or f16")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "f16"}))
      ->capture_default_str();
  app.add_option("--memory", o->memory, "plan for a machine with this much free memory (8G, 512M)")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--architecture-as", o->model.architecture_as, "treat the model as this model_type");
  app.add_flag("--strict", o->model.strict, "unknown keys in quantization configs are errors");
  app.add_flag("--json", o->json, "one JSON object on stdout");
  return [o] { return Run(*o); };
}

}  // namespace

const Command* plan_command() {
  static const Command command = {"plan", "the memory a model needs and whether it fits here",
                                  "nibble plan MODEL --context 8192 --batch 4", 70, Setup};
  return &command;
}

}  // namespace nibble
