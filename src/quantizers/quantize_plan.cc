// SPDX-License-Identifier: Apache-2.0
#include "quantizers/quantize_plan.h"

#include <numeric>

#include "methods/name_pattern.h"

namespace nibble {
namespace {

// Which modules the expressions name; every one must name something.
Result<std::vector<bool>> Ignored(const SourceModel& model, const std::vector<std::string>& expressions) {
  std::vector<bool> ignored(model.modules.size(), false);
  for (const std::string& expression : expressions) {
    std::string_view text = expression;
    if (text.starts_with("re:")) text.remove_prefix(3);
    NIBBLE_TRY(const NamePattern pattern, NamePattern::Compile(text, "--ignore"));
    bool any = false;
    for (size_t i = 0; i < model.modules.size(); ++i) {
      if (model.modules[i].role == ModuleRole::kEmbedding || !pattern.Matches(model.modules[i].name)) continue;
      ignored[i] = any = true;
    }
    any |= text == "lm_head";  // a tied head is no module of its own
    if (any) continue;
    const std::string example = model.modules.size() > 1 ? model.modules[1].name : "model.layers.0.self_attn.q_proj";
    return Usage(
        "--ignore \"{}\" matches no module; expressions are matched from the beginning of names such as \"{}\" (\".*down_proj\" "
        "matches every down_proj)",
        expression, example);
  }
  return ignored;
}

std::string GroupAdvice(const std::vector<const SourceModule*>& ragged, const std::vector<PlannedModule>& fitting, int64_t group) {
  int64_t common = 0;
  for (const SourceModule* module : ragged) common = std::gcd(common, module->k);
  for (const PlannedModule& module : fitting) common = std::gcd(common, module.source.k);
  for (int64_t size = group - 1; size >= 16; --size)
    if (common % size == 0) return fmt::format("--group-size {} divides every module, ", size);
  return "";
}

}  // namespace

Result<QuantizePlan> PlanQuantization(const SourceModel& model, const QuantizeOptions& options) {
  NIBBLE_TRY(const std::vector<bool> ignored, Ignored(model, options.ignore));
  QuantizePlan plan;
  std::vector<const SourceModule*> ragged;
  for (size_t i = 0; i < model.modules.size(); ++i) {
    const SourceModule& module = model.modules[i];
    const bool linear = module.role == ModuleRole::kLinear || module.role == ModuleRole::kExpert;
    WeightScheme weights = options.scheme.weights;
    const bool uneven = linear && !ignored[i] && weights.grain == WeightScheme::kGroup && module.k % weights.group != 0;
    if (uneven && options.ragged == Ragged::kError) ragged.push_back(&module);
    if (uneven && options.ragged == Ragged::kChannel) weights.grain = WeightScheme::kChannel, weights.group = 0;
    if (!linear || ignored[i] || (uneven && options.ragged == Ragged::kIgnore)) {
      if (module.role != ModuleRole::kEmbedding && module.role != ModuleRole::kLmHead) plan.ignore.push_back(module.name);
      plan.kept.push_back(module);
    } else {
      plan.quantized.push_back({module, weights});
    }
  }
  plan.ignore.push_back("lm_head");
  if (!ragged.empty()) {
    const int64_t group = options.scheme.weights.group;
    return Usage(
        "module \"{}\" (and {} more): rows of {} weights are not a multiple of the group size {}, which compressed-tensors "
        "requires; {}"
        "--group-size -1 gives every row one scale, --ragged channel does that for such modules only, --ragged ignore leaves them "
        "as they are",
        ragged[0]->name, ragged.size() - 1, ragged[0]->k, group, GroupAdvice(ragged, plan.quantized, group));
  }
  if (plan.quantized.empty()) return Usage("nothing is left to quantize: every linear module is ignored");
  return plan;
}

}  // namespace nibble
