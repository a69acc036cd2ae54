// SPDX-License-Identifier: Apache-2.0
#include "methods/adapter.h"

#include <cmath>
#include <filesystem>
#include <optional>

#include "io/safetensors.h"
#include "methods/name_list.h"
#include "methods/registry.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct AdapterSettings {
  double rank = 0, alpha = 0;
  bool root = false;           // use_rslora
  Json ranks, alphas;          // patterns by module
  bool alpha_is_rank = false;  // nothing is said of alpha: EoRA

  // rank_pattern and alpha_pattern name modules or the ends of their names.
  static double By(const Json& pattern, const std::string& module, double fallback) {
    if (!pattern.is_object()) return fallback;
    for (const auto& [name, value] : pattern.items())
      if (value.is_number() && (name == module || module.ends_with("." + name))) return value.get<double>();
    return fallback;
  }
  double Scaling(const std::string& module, int64_t stored_rank) const {
    if (alpha_is_rank) return 1;
    const double r = By(ranks, module, static_cast<double>(stored_rank));
    return By(alphas, module, alpha) / (root ? std::sqrt(r) : r);
  }
};

Result<AdapterSettings> ParseAdapterSettings(const std::string& path) {
  NIBBLE_TRY(const Json json, ReadJsonFile(path));
  if (!json.is_object()) return Corrupt("{}: wanted an object, found {}", path, json.type_name());
  NIBBLE_TRY_IN(path, const std::string kind, JsonString(json, "peft_type", "LORA"));
  if (kind != "LORA") return Unsupported("{}: peft_type \"{}\"; readable is LORA", path, kind);
  for (const char* key : {"use_dora", "fan_in_fan_out"}) {
    NIBBLE_TRY_IN(path, const bool set, JsonBool(json, key, false));
    if (set) return Unsupported("{}: {}, which this build does not apply", path, key);
  }
  NIBBLE_TRY_IN(path, const std::string bias, JsonString(json, "bias", "none"));
  if (bias != "none") return Unsupported("{}: bias \"{}\": trained biases; readable is none", path, bias);
  NIBBLE_TRY(const std::vector<std::string> whole, NameList(json, "modules_to_save", path));
  if (!whole.empty()) return Unsupported("{}: modules_to_save: whole modules in an adapter ({})", path, whole[0]);
  AdapterSettings settings;
  NIBBLE_TRY_IN(path, settings.rank, JsonNumber(json, "r", 0));
  settings.alpha_is_rank = !JsonFind(json, "lora_alpha");
  NIBBLE_TRY_IN(path, settings.alpha, JsonNumber(json, "lora_alpha", 0));
  NIBBLE_TRY_IN(path, settings.root, JsonBool(json, "use_rslora", false));
  if (const Json* ranks = JsonFind(json, "rank_pattern")) settings.ranks = *ranks;
  if (const Json* alphas = JsonFind(json, "alpha_pattern")) settings.alphas = *alphas;
  return settings;
}

// "base_model.model.X.lora_A.weight" or "...lora_A.default.weight" -> X; empty: another kind of tensor.
std::string ModuleOf(std::string_view tensor, std::string_view factor) {
  const size_t at = tensor.find(factor);
  if (at == tensor.npos || !tensor.ends_with(".weight")) return {};
  std::string_view module = tensor.substr(0, at);
  constexpr std::string_view kPrefix = "base_model.model.";
  if (module.starts_with(kPrefix)) module.remove_prefix(kPrefix.size());
  return std::string(module);
}

}  // namespace

Result<std::unique_ptr<Adapter>> Adapter::Open(const std::string& folder) {
  namespace fs = std::filesystem;
  const std::string config = folder + "/adapter_config.json", file = folder + "/adapter_model.safetensors";
  for (const std::string& path : {config, file})
    if (!fs::exists(path)) return NotFound("{}: an adapter is a folder with adapter_config.json and adapter_model.safetensors", path);
  NIBBLE_TRY(const AdapterSettings settings, ParseAdapterSettings(config));
  auto adapter = std::make_unique<Adapter>();
  adapter->folder_ = folder;
  NIBBLE_TRY(auto files, OpenSafetensors(file));
  adapter->tensors_ = std::move(files.tensors);
  for (const StoredTensor& tensor : adapter->tensors_.tensors()) {
    const std::string a = ModuleOf(tensor.name, ".lora_A."), b = ModuleOf(tensor.name, ".lora_B.");
    if (a.empty() && b.empty()) return Unsupported("{}: tensor \"{}\" is no factor of a linear layer", file, tensor.name);
    if (tensor.view.rank() != 2 || !IsFloat(tensor.view.dtype) || DTypeBytes(tensor.view.dtype) < 2) {
      return Corrupt("{}: tensor \"{}\" is {} {}, wanted a float matrix", file, tensor.name, DTypeName(tensor.view.dtype),
                     tensor.view.shape.ToString());
    }
    Factors& factors = adapter->modules_[a.empty() ? b : a];
    (a.empty() ? factors.b : factors.a) = &tensor;
  }
  for (auto& [module, factors] : adapter->modules_) {
    if (!factors.a || !factors.b) return Corrupt("{}: module \"{}\" has {} alone", file, module, factors.a ? "lora_A" : "lora_B");
    if (factors.a->view.dim(0) != factors.b->view.dim(1)) {
      return Corrupt("{}: module \"{}\": lora_A is {}, lora_B {}", file, module, factors.a->view.shape.ToString(),
                     factors.b->view.shape.ToString());
    }
    factors.scaling = settings.Scaling(module, factors.a->view.dim(0));
    if (!std::isfinite(factors.scaling)) return Corrupt("{}: the scaling of \"{}\" is {}", config, module, factors.scaling);
  }
  return adapter;
}

Result<LinearPart> Adapter::Apply(const std::string& module, LinearPart part) {
  const auto found = modules_.find(module);
  if (found == modules_.end()) return part;
  const auto& [name, factors] = *found;
  const StoredWeight& weight = *part.weight;
  if (factors.a->view.dim(1) != weight.k || factors.b->view.dim(0) != weight.n) {
    return Corrupt("{}: \"{}\": lora_A is {}, lora_B {}, but the weight is [{},{}]; the adapter is of another model", folder_, module,
                   factors.a->view.shape.ToString(), factors.b->view.shape.ToString(), weight.n, weight.k);
  }
  if (weight.lora_a || !weight.in.empty() || !weight.out.empty()) {
    return Unsupported("{}: \"{}\": the weight {}; an adapter cannot be added", folder_, module,
                       weight.lora_a ? "has a low-rank term already" : "comes with transforms of its input or output");
  }
  StoredWeight with = weight;
  with.lora_a = factors.a->view;
  with.lora_b = factors.b->view;
  with.keep.push_back(factors.a->keep);
  if (factors.scaling != 1) {
    Tensor scaled(DType::kF32, factors.b->view.shape);
    for (int64_t i = 0; i < factors.b->view.elems(); ++i) {
      const double value = LoadScalar(factors.b->view.dtype, factors.b->view.data, i);
      scaled.as<float>()[i] = static_cast<float>(value * factors.scaling);
    }
    with.lora_b = scaled.view;
    with.keep.push_back(scaled.bytes);
  }
  part.weight = std::make_shared<const StoredWeight>(std::move(with));
  used_.insert(module);
  return part;
}

std::vector<std::string> Adapter::Unused() const {
  std::vector<std::string> names;
  for (const auto& [name, factors] : modules_)
    if (!used_.count(name)) names.push_back(name);
  return names;
}

}  // namespace nibble
