// SPDX-License-Identifier: Apache-2.0
#include "quantizers/gguf_plan.h"

#include <algorithm>
#include <cmath>

#include "quantizers/float_tensors.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr const char* kPlainDecoder = "llama";  // whose names decoders without a row of their own have

std::string ModuleOf(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

// The tensors of the hub that one of the file holds, experts counted out.
std::vector<std::string> Listed(const HubName& hub, int64_t experts) {
  if (!hub.experts) return hub.tensors;
  std::vector<std::string> names;
  for (int64_t e = 0; e < experts; ++e)
    for (std::string name : hub.tensors) {
      name.replace(name.find('*'), 1, std::to_string(e));
      names.push_back(name);
    }
  return names;
}

}  // namespace

void InterleaveForRope(int64_t heads, int64_t n, int64_t k, std::vector<float>* values) {
  std::vector<float> out(values->size());
  const int64_t d = n / heads;
  for (int64_t row = 0; row < n; ++row) {
    const int64_t head = row / d, h = row % d / (d / 2), i = row % (d / 2);
    std::copy_n(values->data() + row * k, k, out.data() + (head * d + 2 * i + h) * k);
  }
  *values = std::move(out);
}

void TileRows(const Json& config, int64_t rows, std::vector<float>* values) {
  const std::vector<int32_t> map = TiledHeads(config, rows);
  if (map.empty()) return;
  const auto width = static_cast<int64_t>(values->size()) / rows;
  std::vector<float> out(values->size());
  for (int64_t row = 0; row < rows; ++row)
    std::copy_n(values->data() + row * width, width, out.data() + map[static_cast<size_t>(row)] * width);
  *values = std::move(out);
}

int64_t GgufPlan::TypeFor(const SourceModule& module) const {
  if (module.role == ModuleRole::kRouter) return kGgmlF32;
  return type_ == kGgmlQ8 && module.k % 32 != 0 ? kGgmlF16 : type_;
}

Status GgufPlan::ChooseArchitecture() {
  std::vector<const GgufArchitecture*> rows = GgufRowsOf(model_.config.model_type);
  if (rows.empty()) rows = GgufRowsOf(kPlainDecoder);
  Status planned;
  for (const GgufArchitecture* row : rows) {
    architecture_ = row;
    tensors_.clear();
    layer_numbers_.clear();
    taken_.clear();
    biases_.clear();
    planned = Plan();
    if (planned || planned.error().code != Code::kUnsupported) return planned;
  }
  return planned;
}

// Every matrix that the graph has, part by part, and fused modules of the source under their own names.
void GgufPlan::ListModules() {
  for (const SourceModule& module : model_.modules)
    if (module.role == ModuleRole::kEmbedding) modules_[module.query.name] = module;
  for (const LinearSpec& spec : graph_.linears) {
    if (spec.is_lm_head && !spec.tied_to.empty()) continue;
    const ModuleRole role = spec.is_lm_head ? ModuleRole::kLmHead : spec.is_router ? ModuleRole::kRouter : ModuleRole::kLinear;
    for (const LinearPartSpec& part : spec.parts) {
      SourceModule module{.name = part.name, .role = role, .n = part.n, .k = spec.k, .query = QueryOf(spec, part)};
      modules_[part.name] = std::move(module);
      if (part.fused_name.empty()) continue;
      parts_of_[part.fused_name].push_back(part.name);
      SourceModule fused{.name = part.fused_name, .role = role, .n = part.fused_n, .k = spec.k};
      fused.query = {.kind = LayerKind::kLinear,
                     .name = part.fused_name,
                     .n = part.fused_n,
                     .k = spec.k,
                     .transposed = part.transposed,
                     .bias = part.bias};
      if (source_.HasModule(part.fused_name)) fused_[part.fused_name] = std::move(fused);
    }
  }
  for (const SourceModule& module : model_.modules) {
    if (module.role != ModuleRole::kExpert) continue;
    static constexpr const char* kNames[] = {"gate_proj", "up_proj", "down_proj"};
    modules_[fmt::format("{}.{}.{}", module.experts, module.expert, kNames[static_cast<int>(module.matrix)])] = module;
  }
}

Result<const LinearPart*> GgufPlan::Bound(const SourceModule* module) {
  const auto found = parts_.find(module);
  if (found != parts_.end()) return &found->second;
  NIBBLE_TRY_IN(source_.path(), LinearPart part, BindModule(source_, *module));
  return &(parts_[module] = std::move(part));
}

// The source's matrix of this name, if nobody took it yet; a fused one takes its parts.
const SourceModule* GgufPlan::Free(const std::string& name) const {
  if (const auto found = modules_.find(name); found != modules_.end()) return taken_.count(name) ? nullptr : &found->second;
  const auto found = fused_.find(name);
  if (found == fused_.end()) return nullptr;
  for (const std::string& part : parts_of_.at(name))
    if (taken_.count(part)) return nullptr;
  return &found->second;
}
void GgufPlan::Take(const std::string& name) {
  taken_.insert(name);
  if (const auto parts = parts_of_.find(name); parts != parts_of_.end() && !modules_.count(name))
    taken_.insert(parts->second.begin(), parts->second.end());
}

// Whether the source has what this tensor holds; then it is in the plan.
Result<bool> GgufPlan::PlanMatrix(const std::string& gguf, const HubName& hub, const std::vector<std::string>& tensors) {
  PlannedTensor planned{.rule = hub.rule};
  for (const std::string& tensor : tensors) {
    const SourceModule* module = Free(ModuleOf(tensor));
    if (!module || (!tensor.ends_with(".weight") && hub.rule < GgufName::kKeyRows)) return false;
    planned.modules.push_back(module);
  }
  const SourceModule& first = *planned.modules[0];
  int64_t rows = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const SourceModule* module = planned.modules[i];
    NIBBLE_TRY(const LinearPart* part, Bound(module));
    if (part->bias) biases_[module->name + ".bias"] = part->bias;
    if (hub.rule != GgufName::kKeyRows) Take(ModuleOf(tensors[i]));
    rows += module->n;
  }
  const auto experts = hub.experts ? static_cast<int64_t>(tensors.size() / hub.tensors.size()) : 0;
  planned.declaration = {gguf, experts ? Shape{experts, rows / experts, first.k} : Shape{rows, first.k}, TypeFor(first)};
  if (hub.rope_rows) planned.permuted_heads = gguf.ends_with("attn_k.weight") ? model_.config.kv_heads : model_.config.heads;
  planned.tiles = hub.tiles;
  if (hub.rule == GgufName::kKeyRows || hub.rule == GgufName::kValueRows) {
    NIBBLE_RETURN_IF_ERROR(PlanLatent(first, &planned));
  }
  tensors_.push_back(std::move(planned));
  return true;
}

// kv_b_proj: heads of `plain` rows of keys, then v rows of values.
Status GgufPlan::PlanLatent(const SourceModule& module, PlannedTensor* planned) const {
  NIBBLE_TRY(const int64_t plain, JsonInt(model_.config.json, "qk_nope_head_dim", 128));
  const int64_t heads = model_.config.heads, v = module.n / heads - plain;
  const bool keys = planned->rule == GgufName::kKeyRows;
  planned->declaration.shape = keys ? Shape{heads, module.k, plain} : Shape{heads, v, module.k};
  if (keys && TypeFor(module) == kGgmlQ8 && plain % 32 != 0) planned->declaration.type = kGgmlF16;
  return {};
}

Result<bool> GgufPlan::PlanVector(const std::string& gguf, const HubName& hub, const std::vector<std::string>& tensors) {
  PlannedTensor planned{.rule = hub.rule};
  Shape shape;
  for (const std::string& tensor : tensors) {
    std::vector<float> values;
    if (const auto vector = vectors_.find(tensor); vector != vectors_.end()) {
      if (vector->second.second) return false;
      NIBBLE_TRY(values, source_.Vector(tensor, vector->second.first));
      shape = ShapeOf(tensor, vector->second.first);
    } else if (const auto bias = biases_.find(tensor); bias != biases_.end()) {
      values.resize(static_cast<size_t>(bias->second.elems()));
      for (size_t i = 0; i < values.size(); ++i)  // a column of experts' biases is not in one piece
        values[i] = LoadScalar(bias->second.dtype, bias->second.data, static_cast<int64_t>(i) * bias->second.stride[0]);
      shape = Shape{bias->second.elems()};
    } else {
      return false;
    }
    planned.vector.insert(planned.vector.end(), values.begin(), values.end());
  }
  for (const std::string& tensor : tensors) {
    if (vectors_.count(tensor)) vectors_[tensor].second = true;
    biases_.erase(tensor);
  }
  if (tensors.size() > 1) shape = Shape{static_cast<int64_t>(planned.vector.size())};
  if (hub.experts)
    shape = Shape{static_cast<int64_t>(tensors.size() / hub.tensors.size()),
                  static_cast<int64_t>(planned.vector.size() / (tensors.size() / hub.tensors.size()))};
  if (hub.tiles == GgufName::kNumbers) TileRows(model_.config.json, shape[0], &planned.vector);
  for (float& value : planned.vector) {
    if (hub.rule == GgufName::kPlusOne) value += 1;
    if (hub.rule == GgufName::kNegExp) value = -std::exp(value);
  }
  if (hub.rope_rows)
    InterleaveForRope(gguf.ends_with("attn_k.bias") ? model_.config.kv_heads : model_.config.heads,
                      static_cast<int64_t>(planned.vector.size()), 1, &planned.vector);
  planned.declaration = {gguf, shape, kGgmlF32};
  tensors_.push_back(std::move(planned));
  return true;
}

// As stored, without dimensions of one (convolutions have such).
Shape GgufPlan::ShapeOf(const std::string& tensor, int64_t size) const {
  const StoredTensor* stored = source_.tensors().Find(tensor);
  std::vector<int64_t> dims;
  if (stored && stored->shape.elems() == size)
    for (int i = 0; i < stored->shape.rank(); ++i)
      if (stored->shape[i] != 1) dims.push_back(stored->shape[i]);
  return dims.empty() ? Shape{size} : Shape(dims);
}

Status GgufPlan::Plan() {
  if (modules_.empty()) ListModules();
  for (const VectorSpec& spec : graph_.vectors) vectors_[spec.name] = {spec.size, false};
  const int64_t experts = graph_.moes.empty() ? 0 : graph_.moes[0].experts;
  const std::vector<std::string> names = GgufTensorNames(*architecture_, model_.config.layers);
  for (const bool matrices : {true, false})
    for (const std::string& gguf : names) {
      const auto hub = HubTensorName(gguf, *architecture_);
      if (!hub || (hub->experts && experts == 0)) continue;
      const std::vector<std::string> tensors = Listed(*hub, experts);
      NIBBLE_TRY([[maybe_unused]] const bool has, matrices ? PlanMatrix(gguf, *hub, tensors) : PlanVector(gguf, *hub, tensors));
    }
  NIBBLE_RETURN_IF_ERROR(PlanLayerNumbers());
  return GgufPlan::CheckAllPlanned();
}

Status GgufPlan::PlanLayerNumbers() {
  for (const GgufName& row : architecture_->layer_numbers) {
    std::vector<float> values;
    for (int64_t layer = 0; layer < model_.config.layers; ++layer) {
      const std::string name = fmt::format("{}.{}.{}", architecture_->layers, layer, row.hub);
      NIBBLE_TRY(const std::vector<float> one, source_.Vector(name, 1));
      values.push_back(one[0]);
      vectors_[name] = {1, true};
    }
    layer_numbers_.emplace_back(row.gguf, std::move(values));
  }
  return {};
}

Status GgufPlan::CheckAllPlanned() const {
  std::string left;
  for (const auto& [name, module] : modules_)
    if (!taken_.count(name)) left = name;
  for (const auto& [name, vector] : vectors_)
    if (!vector.second) left = name;
  if (left.empty() && !biases_.empty()) left = biases_.begin()->first;
  if (left.empty()) return {};
  return Unsupported("{}: GGUF's {} has no tensor for \"{}\"", source_.path(), architecture_->name, left);
}

}  // namespace nibble
