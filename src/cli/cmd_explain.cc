// SPDX-License-Identifier: Apache-2.0
// nibble explain: which kernel each layer gets on this machine, and why the others refused.
#include <cstdio>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/table.h"
#include "eval/explain.h"

namespace nibble {
namespace {

struct ExplainArguments {
  ModelOptions model;
  bool json = false;
};

OrderedJson PartJson(const ExplainedPart& part) {
  OrderedJson kernels, refused = OrderedJson::array();
  for (size_t i = 0; i < kMBuckets; ++i) kernels[kBucketNames[i]] = part.kernels[i];
  for (const auto& [candidate, why] : part.refused) refused.push_back({{"candidate", candidate}, {"why", why}});
  return {{"name", part.name},     {"shape", {part.n, part.k}},      {"method", part.method},
          {"format", part.format}, {"activations", part.activation}, {"kernels", kernels},
          {"refused", refused}};
}

void PrintExplainJson(const ExplainArguments& o, const Explanation& e) {
  OrderedJson layers = OrderedJson::array();
  for (const ExplainedLayer& layer : e.layers) {
    OrderedJson parts = OrderedJson::array();
    for (const ExplainedPart& part : layer.parts) parts.push_back(PartJson(part));
    layers.push_back({{"layers", layer.layers}, {"count", layer.count}, {"parts", parts}});
  }
  const OrderedJson json = {{"model", o.model.model},
                            {"method", e.method},
                            {"isa", e.isa},
                            {"activations", o.model.activations},
                            {"kv_cache_dtype", o.model.kv_cache_dtype},
                            {"kv_cache_scheme", e.kv_scheme},
                            {"from_config_alone", e.from_config_alone},
                            {"layers", layers}};
  std::printf("%s\n", json.dump().c_str());
}

// Kernels of the four row counts, equal neighbours joined: "m=1 a, m>1 b".
std::string Kernels(const ExplainedPart& part) {
  static constexpr const char* kFrom[] = {"m=1", "m=2", "m=9", "m=65"};
  std::string text;
  for (size_t i = 0; i < kMBuckets;) {
    size_t j = i;
    while (j + 1 < kMBuckets && part.kernels[j + 1] == part.kernels[i]) ++j;
    const bool last = j + 1 == kMBuckets;
    const std::string range = i == 0 && last ? "any m"
                              : last         ? std::string(kFrom[i]) + "..."
                              : i == j       ? std::string(kBucketNames[i])
                                             : fmt::format("{} to {}", kBucketNames[i], kBucketNames[j]);
    text += (text.empty() ? "" : ", ") + range + " " + part.kernels[i];
    i = j + 1;
  }
  return text;
}

// What the cache will be, and why.
std::string KvCache(const ExplainArguments& o, const Explanation& e) {
  if (o.model.kv_cache_dtype != "auto")
    return o.model.kv_cache_dtype + (e.kv_scheme.empty() ? "" : fmt::format("; the checkpoint asks for {}", e.kv_scheme));
  return e.kv_scheme.empty() ? "bf16 (auto)" : e.kv_scheme + " (the checkpoint's scheme)";
}

void PrintExplain(const ExplainArguments& o, const Explanation& e) {
  std::printf("method       %s%s\nmachine      %s, %s, activations %s\nK/V cache    %s\n", e.method.c_str(),
              e.from_config_alone ? " (from config.json alone: forms are the method's usual ones)" : "", Cpu().name.c_str(),
              e.isa.c_str(), o.model.activations.c_str(), KvCache(o, e).c_str());
  for (const ExplainedLayer& layer : e.layers) {
    const std::string where = layer.layers.empty() ? "outside of layers" : fmt::format("layers {}", RangesOf(layer.layers));
    const auto layers = static_cast<int64_t>(std::max<size_t>(layer.layers.size(), 1));
    std::printf("\n%s%s\n", where.c_str(),
                layer.count > layers ? fmt::format(", {} products each", layer.count / layers).c_str() : "");
    for (const ExplainedPart& part : layer.parts) {
      std::printf("  %s  [%lld,%lld]  %s%s  x: %s\n", part.name.c_str(), static_cast<long long>(part.n),
                  static_cast<long long>(part.k), part.method == "unquantized" ? "" : (part.method + " ").c_str(),
                  part.format.c_str(), part.activation.c_str());
      std::printf("    kernel   %s\n", Kernels(part).c_str());
      for (const auto& [candidate, why] : part.refused) std::printf("    refused  %s: %s\n", candidate.c_str(), why.c_str());
    }
  }
}

Status RunExplain(const ExplainArguments& o) {
  NIBBLE_TRY(const auto checkpoint, OpenCheckpointOrConfig(o.model));
  NIBBLE_TRY(const Explanation explanation, ExplainModel(*checkpoint, MakeLoadOptions(o.model)));
  o.json ? PrintExplainJson(o, explanation) : PrintExplain(o, explanation);
  return {};
}

std::function<Status()> SetUpExplain(CLI::App& app) {
  auto o = std::make_shared<ExplainArguments>();
  AddModelArgument(app, o->model);
  app.get_option("model")->description("hub folder, .gguf file, org/name in the hub cache, or a config.json alone");
  o->model.activations = "int16";  // as fast as it gets without a measurable cost: docs/activations.md
  AddRunOptions(app, o->model);
  app.add_flag("--json", o->json, "one JSON object on stdout");
  return [o] { return RunExplain(*o); };
}

}  // namespace

const Command* explain_command() {
  static const Command command = {"explain", "which kernel each layer gets here, and why the others refused",
                                  "nibble explain MODEL --activations int8", 60, SetUpExplain};
  return &command;
}

}  // namespace nibble
