// SPDX-License-Identifier: Apache-2.0
#include "methods/checkpoint.h"

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "io/safetensors.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

std::string_view DirectoryOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? std::string_view(".") : std::string_view(path).substr(0, slash);
}

Result<Json> OptionalJson(const std::string& path) {
  if (!std::filesystem::exists(path)) return Json();
  return ReadJsonFile(path);
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& path, CheckpointKind kind) {
  auto checkpoint = std::unique_ptr<Checkpoint>(new Checkpoint);
  checkpoint->path_ = path;
  if (kind == CheckpointKind::kGguf) {
    const QuantizationEntry* gguf = FindQuantization("gguf");
    if (!gguf || !gguf->open_container) return Unsupported("{}: this build reads no GGUF files", path);
    NIBBLE_TRY(ContainerContents contents, gguf->open_container(path));
    checkpoint->config_ = std::move(contents.config);
    checkpoint->tensors_ = std::move(contents.tensors);
    checkpoint->quantization_ = std::move(contents.quantization);
    return checkpoint;
  }
  if (!std::filesystem::exists(path + "/config.json"))
    return NotFound("{}: no config.json in this folder; a model is a hub folder (config.json and *.safetensors) or a .gguf file",
                    path);
  NIBBLE_TRY(checkpoint->config_, ReadJsonFile(path + "/config.json"));
  if (!checkpoint->config_.is_object())
    return Corrupt("{}/config.json: wanted an object, found {}", path, checkpoint->config_.type_name());
  NIBBLE_TRY(checkpoint->generation_config_, OptionalJson(path + "/generation_config.json"));
  NIBBLE_TRY(auto files, OpenSafetensorsFolder(path));
  checkpoint->tensors_ = std::move(files.tensors);
  NIBBLE_TRY(checkpoint->quantization_, LoadQuantizationConfig(path, checkpoint->config_, &checkpoint->tensors_, &files.metadata));
  return checkpoint;
}

Result<std::unique_ptr<Checkpoint>> Checkpoint::OpenConfigOnly(const std::string& config_path) {
  auto checkpoint = std::unique_ptr<Checkpoint>(new Checkpoint);
  checkpoint->path_ = config_path;
  NIBBLE_TRY(checkpoint->config_, ReadJsonFile(config_path));
  if (!checkpoint->config_.is_object())
    return Corrupt("{}: wanted an object, found {}", config_path, checkpoint->config_.type_name());
  NIBBLE_TRY(checkpoint->quantization_, LoadQuantizationConfig(std::string(DirectoryOf(config_path)), checkpoint->config_));
  return checkpoint;
}

void Checkpoint::LookUnder(std::string_view name, std::string_view on_disk) {
  const bool inside = on_disk.starts_with(name);  // "model." within "model.language_model."
  if (!tensors_.HasPrefix(on_disk) || (!inside && tensors_.HasPrefix(name))) return;
  for (const auto& [known, unused] : prefixes_)
    if (known == name) return;
  prefixes_.emplace_back(name, on_disk);
}

std::string Checkpoint::OnDisk(std::string_view name) const {
  for (const auto& [prefix, on_disk] : prefixes_)
    if (name.starts_with(prefix)) return on_disk + std::string(name.substr(prefix.size()));
  return std::string(name);
}

bool Checkpoint::Has(std::string_view tensor) const { return Stored(OnDisk(tensor)); }
bool Checkpoint::HasModule(std::string_view module) const { return StoredModule(OnDisk(module)); }

bool Checkpoint::StoredModule(std::string_view module) const { return tensors_.HasPrefix(std::string(module) + "."); }

// A needed tensor is not there. When the module has tensors but none that the method knows, another method wrote them.
tl::unexpected<Error> Checkpoint::MissingTensor(const std::string& module, const std::string& name,
                                                const std::vector<ParamDecl>& decls) const {
  std::string others;
  bool known = false;
  for (const StoredTensor& tensor : tensors_.tensors()) {
    if (!tensor.name.starts_with(module + ".")) continue;
    const std::string_view suffix = std::string_view(tensor.name).substr(module.size() + 1);
    if (suffix == "bias") continue;
    known |= std::any_of(decls.begin(), decls.end(), [&](const ParamDecl& decl) { return decl.suffix == suffix; });
    others += fmt::format("{}{}", others.empty() ? "" : ", ", suffix);
  }
  if (!known && !others.empty())
    return Unsupported(
        "{}: module \"{}\" holds {}; method {} wants \"{}\" and reads none of them: another method wrote this checkpoint, which "
        "its config does not say or "
        "this build does not read",
        path_, module, others, quantization_->name(), name);
  return NotFound(
      "{}: tensor \"{}\" is not in the checkpoint, and method {} needs it; is a shard missing, or is the module listed wrongly in "
      "the config?",
      path_, name, quantization_->name());
}

Result<BoundParams> Checkpoint::Bind(const std::string& module, const std::vector<ParamDecl>& decls) {
  BoundParams params{.name = module};
  for (const ParamDecl& decl : decls) {
    const std::string name = fmt::format("{}.{}", module, decl.suffix);
    const StoredTensor* tensor = tensors_.Find(name);
    if (!tensor) {
      if (!decl.required) continue;
      return MissingTensor(module, name, decls);
    }
    if (!tensor->unsupported.empty()) return Unsupported("{}: tensor \"{}\": {}", tensor->file, name, tensor->unsupported);
    if (!decl.dtypes.empty() && !tensor->ggml &&
        std::find(decl.dtypes.begin(), decl.dtypes.end(), tensor->view.dtype) == decl.dtypes.end()) {
      std::string wanted;
      for (const DType dtype : decl.dtypes) wanted += std::string(wanted.empty() ? "" : " or ") + DTypeName(dtype);
      return Corrupt("{}: tensor \"{}\": dtype is {}, wanted {} for method {}", tensor->file, name, DTypeName(tensor->view.dtype),
                     wanted, quantization_->name());
    }
    claimed_.insert(name);
    params.params.emplace_back(decl.suffix, tensor);
  }
  return params;
}

// The weight of a whole module as it stands on disk.
Result<LinearPart> Checkpoint::Module(LayerKind kind, const std::string& module, const std::string& fused_name, int64_t n,
                                      int64_t k) {
  const LayerQuery query{.kind = kind, .name = module, .fused_name = fused_name, .has = [&](std::string_view suffix) {
                           return Stored(fmt::format("{}.{}", module, suffix));
                         }};
  NIBBLE_TRY(auto method, quantization_->GetQuantMethod(query));
  if (!method) {
    NIBBLE_TRY(auto plain, FindQuantization("unquantized")->from_config(Json(), {}));
    NIBBLE_TRY(method, plain->GetQuantMethod(query));
  }
  NIBBLE_TRY(BoundParams params, Bind(module, method->CreateWeights({module, n, k})));
  params.n = n;
  params.k = k;
  NIBBLE_TRY(LinearPart part, method->MakeWeight(params));
  return adapter_ ? adapter_->Apply(module, std::move(part)) : part;
}

Status Checkpoint::AttachAdapter(const std::string& folder) {
  NIBBLE_TRY(adapter_, Adapter::Open(folder));
  return {};
}

Status Checkpoint::BindBias(const std::string& module, Range rows, LinearPart* part) {
  const std::string name = module + ".bias";
  const StoredTensor* tensor = tensors_.Find(name);
  if (!tensor) return {};
  if (!tensor->unsupported.empty()) return Unsupported("{}: tensor \"{}\": {}", tensor->file, name, tensor->unsupported);
  if (tensor->view.rank() != 1 || tensor->view.dim(0) < rows.end || !IsFloat(tensor->view.dtype))
    return Corrupt("{}: tensor \"{}\": {} {}, wanted a float vector of {}", tensor->file, name, DTypeName(tensor->view.dtype),
                   tensor->view.shape.ToString(), rows.end);
  claimed_.insert(name);
  part->bias = tensor->view.Slice(0, rows.begin, rows.size());
  part->bias_keep = tensor->holder();
  return {};
}

Status Checkpoint::QuantizeWhileLoading(const std::string& name, int threads) {
  NIBBLE_TRY(online_, ChooseOnlineFormat(name, *quantization_, path_));
  if (!online_) return {};
  quantization_ = MakeOnlineConfig(*online_, std::move(quantization_));
  online_team_ = std::make_unique<ThreadTeam>(threads);
  return {};
}

Result<LinearPart> Checkpoint::Online(Result<LinearPart> part) {
  if (!online_ || !part) return part;
  const StoredWeight& stored = *part->weight;
  if (!std::holds_alternative<Dense>(stored.body))
    return Usage("--quantization {}: tensor \"{}\" of {} is quantized already ({}); leave the option out", online_->name,
                 stored.origin.tensor, path_, nibble::Describe(stored));
  auto encoded = EncodeOnline(*online_, stored, *online_team_);
  if (!encoded && encoded.error().code == Code::kUnsupported) {
    Warn("left as it is: {}", encoded.error().message);
    return part;
  }
  NIBBLE_TRY(StoredWeight weight, std::move(encoded));
  part->weight = std::make_shared<StoredWeight>(std::move(weight));
  return part;
}

Result<LinearPart> Checkpoint::Linear(const LinearQuery& query) {
  Result<LinearPart> part = StoredLinear(query);
  return query.kind == LayerKind::kLinear && !query.keep_float ? Online(std::move(part)) : part;
}

Result<LinearPart> Checkpoint::Expert(const ExpertQuery& query) { return Online(StoredExpert(query)); }

std::optional<LinearPart> Checkpoint::TransposedModule(const std::string& module, int64_t n, int64_t k) {
  const StoredTensor* tensor = tensors_.Find(module + ".weight");
  if (!tensor || tensor->ggml || !IsFloat(tensor->view.dtype) || tensor->view.rank() != 2 || tensor->view.dim(0) != k ||
      tensor->view.dim(1) != n)
    return std::nullopt;
  claimed_.insert(tensor->name);
  TensorView view = tensor->view;
  std::swap(view.shape[0], view.shape[1]);
  std::swap(view.stride[0], view.stride[1]);
  return LinearPart{.weight = std::make_shared<StoredWeight>(MakeDense(view, {tensor->file, tensor->name}, tensor->keep))};
}

// The rows of a part in the module that holds it.
static std::vector<int32_t> FusedRows(const Checkpoint::LinearQuery& query) {
  std::vector<int32_t> rows;
  for (int64_t row = 0; row < query.n; ++row)
    rows.push_back(static_cast<int32_t>(query.fused_row + row / query.fused_block * query.fused_stride + row % query.fused_block));
  return rows;
}

// Mixtral's router is block_sparse_moe.gate in its own files, and mlp.gate where a tool saves what transformers 5 has in memory
// (GPTQModel).
std::string Checkpoint::RouterOnDisk(const std::string& module) const {
  static constexpr std::string_view kOwn = ".block_sparse_moe.gate";
  if (!module.ends_with(kOwn) || StoredModule(module)) return module;
  const std::string other = module.substr(0, module.size() - kOwn.size()) + ".mlp.gate";
  return StoredModule(other) ? other : module;
}

Result<LinearPart> Checkpoint::StoredLinear(const LinearQuery& asked) {
  LinearQuery query = asked;
  query.name = RouterOnDisk(OnDisk(asked.name));
  query.fused_name = OnDisk(asked.fused_name);
  const bool fused = !query.fused_name.empty() && StoredModule(query.fused_name) && !StoredModule(query.name);
  const std::string& module = fused ? query.fused_name : query.name;
  if (!StoredModule(module)) return NotFound("{}: module \"{}\": the checkpoint has none of its tensors", path_, query.name);
  const int64_t n = fused ? query.fused_n : query.n;
  std::optional<LinearPart> found = query.transposed ? TransposedModule(module, n, query.k) : std::nullopt;
  if (!found) {
    NIBBLE_TRY(found, Module(query.kind, module, fused ? "" : query.fused_name, n, query.k));
  }
  LinearPart part = *std::move(found);
  const bool scattered = fused && query.fused_block > 0 && query.fused_block < query.n;
  const Range rows = scattered ? Range{0, n} : fused ? Range{query.fused_row, query.fused_row + query.n} : Range{0, part.weight->n};
  if (query.bias) NIBBLE_RETURN_IF_ERROR(BindBias(module, rows, &part));
  if (!fused) return part;
  if (!scattered) {
    NIBBLE_TRY(StoredWeight cut, Slice(*part.weight, rows, {0, query.k}));
    part.weight = std::make_shared<StoredWeight>(std::move(cut));
    return part;
  }
  const std::vector<int32_t> selection = FusedRows(query);
  NIBBLE_TRY(StoredWeight selected, SelectRows(*part.weight, selection));
  part.weight = std::make_shared<StoredWeight>(std::move(selected));
  if (part.bias) {
    auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(n)), taken = std::make_shared<std::vector<float>>();
    ConvertToF32(part.bias.dtype, part.bias.data, n, values->data());
    for (const int32_t row : selection) taken->push_back((*values)[static_cast<size_t>(row)]);
    part.bias = TensorView(taken->data(), DType::kF32, {query.n});
    part.bias_keep = taken;
  }
  return part;
}

Result<std::vector<float>> Checkpoint::Vector(const std::string& asked, int64_t size) {
  const std::string name = OnDisk(asked);
  const StoredTensor* tensor = tensors_.Find(name);
  if (!tensor) return NotFound("{}: tensor \"{}\" is not in the checkpoint", path_, name);
  if (!tensor->view.contiguous() || tensor->shape.elems() != size || !IsFloat(tensor->view.dtype))
    return Corrupt("{}: tensor \"{}\": found {} {}, wanted {} floats, as config.json says", tensor->file, name,
                   DTypeName(tensor->view.dtype), tensor->shape.ToString(), size);
  claimed_.insert(name);
  std::vector<float> values(static_cast<size_t>(size));
  ConvertToF32(tensor->view.dtype, tensor->view.data, size, values.data());
  return values;
}

Result<std::shared_ptr<const KvCacheMethod>> Checkpoint::KvMethod(const std::string& attention_name) const {
  LayerQuery query{.kind = LayerKind::kAttention, .name = OnDisk(attention_name)};
  if (has_weights()) query.has = [&](std::string_view suffix) { return Stored(fmt::format("{}.{}", query.name, suffix)); };
  return quantization_->GetKvCacheMethod(query);
}

Result<KvRules> Checkpoint::KvScales(const std::string& attention_name) {
  NIBBLE_TRY(const auto method, KvMethod(attention_name));
  if (!method) return KvRules{};
  const std::string name = OnDisk(attention_name);
  NIBBLE_TRY(const BoundParams params, Bind(name, method->CreateWeights(name)));
  return method->ProcessWeightsAfterLoading(params);
}

std::vector<std::string> Checkpoint::Unclaimed() const {
  std::vector<std::string> left;
  const auto suffixes = quantization_->ignored_suffixes();
  for (const StoredTensor& tensor : tensors_.tensors()) {
    if (claimed_.count(tensor.name)) continue;
    const bool by_suffix =
        std::any_of(suffixes.begin(), suffixes.end(), [&](std::string_view s) { return EndsWith(tensor.name, s); });
    const bool by_part = std::any_of(ignored_parts_.begin(), ignored_parts_.end(),
                                     [&](const std::string& p) { return tensor.name.find(p) != std::string::npos; });
    if (!by_suffix && !by_part) left.push_back(tensor.name);
  }
  if (adapter_)
    for (const std::string& module : adapter_->Unused()) left.push_back("adapter: " + module);
  return left;
}

void Checkpoint::ReleasePages() const {
  const MappedFile* last = nullptr;
  for (const StoredTensor& tensor : tensors_.tensors()) {
    if (tensor.keep && tensor.keep.get() != last) tensor.keep->ReleasePages({0, tensor.keep->size_bytes()});
    last = tensor.keep.get();
  }
}

}  // namespace nibble
