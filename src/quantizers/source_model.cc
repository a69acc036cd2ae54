// SPDX-License-Identifier: Apache-2.0
#include "quantizers/source_model.h"

#include <bit>
#include <set>

#include "base/log.h"

namespace nibble {
namespace {

void AddLinear(const Checkpoint& checkpoint, const LinearSpec& spec, ModuleRole role, std::vector<SourceModule>* modules) {
  if (spec.is_lm_head && !spec.tied_to.empty()) return;
  std::set<std::string> fused_done;
  for (const LinearPartSpec& part : spec.parts) {
    const bool fused = !part.fused_name.empty() && checkpoint.HasModule(part.fused_name) && !checkpoint.HasModule(part.name);
    if (fused && !fused_done.insert(part.fused_name).second) continue;
    const std::string& name = fused ? part.fused_name : part.name;
    SourceModule module{.name = checkpoint.OnDisk(name), .role = role, .n = fused ? part.fused_n : part.n, .k = spec.k};
    module.query = {.kind = spec.is_lm_head ? LayerKind::kLmHead : LayerKind::kLinear,
                    .name = name,
                    .n = module.n,
                    .k = module.k,
                    .transposed = part.transposed,
                    .bias = part.bias};
    modules->push_back(std::move(module));
  }
}

void AddExpertModules(const Checkpoint& checkpoint, const MoeSpec& spec, std::vector<SourceModule>* modules) {
  static constexpr const char* kNames[] = {"gate_proj", "up_proj", "down_proj"};
  std::string prefix = spec.prefix;
  for (const std::string& other : spec.prefixes_on_disk)
    if (!checkpoint.HasModule(prefix) && checkpoint.HasModule(other)) prefix = other;
  for (int64_t e = 0; e < spec.experts; ++e) {
    for (const MoeMatrix which : {MoeMatrix::kGate, MoeMatrix::kUp, MoeMatrix::kDown}) {
      const bool down = which == MoeMatrix::kDown;
      SourceModule& module = modules->emplace_back();
      module.name = fmt::format("{}.{}.{}", checkpoint.OnDisk(prefix), e, kNames[static_cast<int>(which)]);
      module.role = ModuleRole::kExpert;
      module.n = down ? spec.hidden : spec.inter;
      module.k = down ? spec.inter : spec.hidden;
      module.experts = spec.prefix;
      module.other_experts = spec.prefixes_on_disk;
      module.stacked_transposed = spec.stacked_transposed;
      module.stacked_interleaved = spec.stacked_interleaved;
      module.expert = e;
      module.matrix = which;
    }
  }
}

DType FloatTypeOf(const Checkpoint& checkpoint, const Graph& graph) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    const Json* value = JsonFind(checkpoint.config(), key);
    if (!value || !value->is_string()) continue;
    const auto dtype = ParseDType(value->get<std::string>());
    if (dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16) return *dtype;
  }
  if (!graph.embeddings.empty()) {
    const StoredTensor* tensor = checkpoint.tensors().Find(checkpoint.OnDisk(graph.embeddings[0].name) + ".weight");
    if (tensor && (tensor->view.dtype == DType::kF32 || tensor->view.dtype == DType::kF16 || tensor->view.dtype == DType::kBF16))
      return tensor->view.dtype;
  }
  return DType::kF16;
}

}  // namespace

Result<SourceModel> ReadSourceModel(Checkpoint& checkpoint) {
  SourceModel model;
  NIBBLE_TRY(model.config, ConfigOf(checkpoint, {}));
  NIBBLE_TRY(const Graph graph, BuildGraph(model.config, 0, 1));
  NIBBLE_TRY(const Architecture* architecture, FindArchitecture(model.config.model_type));
  UseNamesOf(*architecture, checkpoint);
  model.is_float = checkpoint.quantization().name() == "unquantized";
  model.dtype = FloatTypeOf(checkpoint, graph);
  model.vectors = graph.vectors;
  for (const EmbeddingSpec& embedding : graph.embeddings) {
    model.modules.push_back(
        {.name = checkpoint.OnDisk(embedding.name),
         .role = ModuleRole::kEmbedding,
         .n = embedding.rows,
         .k = embedding.width,
         .query = {.kind = LayerKind::kEmbedding, .name = embedding.name, .n = embedding.rows, .k = embedding.width}});
  }
  for (const LinearSpec& spec : graph.linears) {
    const ModuleRole role = spec.is_lm_head ? ModuleRole::kLmHead : spec.is_router ? ModuleRole::kRouter : ModuleRole::kLinear;
    AddLinear(checkpoint, spec, role, &model.modules);
  }
  for (const MoeSpec& spec : graph.moes) AddExpertModules(checkpoint, spec, &model.modules);
  return model;
}

Result<LinearPart> BindModule(Checkpoint& checkpoint, const SourceModule& module) {
  Result<LinearPart> part = module.role == ModuleRole::kExpert
                                ? checkpoint.Expert({module.experts, module.other_experts, module.expert, module.matrix, module.n,
                                                     module.k, module.stacked_transposed, module.stacked_interleaved})
                                : checkpoint.Linear(module.query);
  if (!part) return part;
  if (part->weight->n != module.n || part->weight->k != module.k)
    return Corrupt("{}: module \"{}\" is [{},{}] as stored, config.json asks for [{},{}]", part->weight->origin.file, module.name,
                   part->weight->n, part->weight->k, module.n, module.k);
  return part;
}

void WarnOfDropped(const Checkpoint& checkpoint) {
  const std::vector<std::string> left = checkpoint.Unclaimed();
  if (left.empty()) return;
  Warn("{}: {} tensors are neither weights nor norms and the output will lack them, the first is \"{}\"", checkpoint.path(),
       left.size(), left.front());
}

namespace {

// The map of a weight whose only transform is an order of the columns (GGUF's tiled heads): a matrix all the same.
const TensorView* OrderOnly(const StoredWeight& weight) {
  if (weight.in.size() != 1 || !weight.out.empty() || weight.lora_a || weight.in[0].kind != Transform::kPermute) return nullptr;
  return &weight.in[0].data;
}

// Row `row` with its columns in order.
void DecodeOrdered(const StoredWeight& weight, int64_t row, float* out) {
  DecodeRows(weight, {row, row + 1}, {0, weight.k}, out);
  const TensorView* order = OrderOnly(weight);
  if (!order) return;
  const std::vector<float> stored(out, out + weight.k);
  for (int64_t j = 0; j < weight.k; ++j) out[order->as<int32_t>()[j]] = stored[static_cast<size_t>(j)];
}

}  // namespace

Status DecodeWhole(const StoredWeight& weight, const std::string& name, ThreadTeam& team, float* out) {
  if ((!weight.in.empty() && !OrderOnly(weight)) || !weight.out.empty() || weight.lora_a)
    return Unsupported("{}: this weight works together with {} of the activations; writing it as a plain matrix is not supported",
                       name, weight.lora_a ? "low-rank factors" : "online transforms");
  team.Run([&](int worker) {
    const Range rows = SplitRange(weight.n, worker, team.size());
    for (int64_t row = rows.begin; row < rows.end; ++row) DecodeOrdered(weight, row, out + row * weight.k);
  });
  return {};
}

DecodedSummary SummarizeDecoded(const StoredWeight& weight, const float* reference, ThreadTeam& team) {
  std::vector<DecodedSummary> by_row(static_cast<size_t>(weight.n));
  team.Run([&](int worker) {
    const Range rows = SplitRange(weight.n, worker, team.size());
    std::vector<float> values(static_cast<size_t>(weight.k));
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      DecodedSummary& summary = by_row[static_cast<size_t>(row)];
      DecodeOrdered(weight, row, values.data());
      uint64_t hash = 0xcbf29ce484222325;
      for (const float value : values) hash = (hash ^ std::bit_cast<uint32_t>(value)) * 0x100000001b3;
      summary.hash = hash;
      if (!reference) continue;
      for (int64_t i = 0; i < weight.k; ++i) {
        const double wanted = reference[row * weight.k + i],
                     difference = static_cast<double>(values[static_cast<size_t>(i)]) - wanted;
        summary.error2 += difference * difference;
        summary.norm2 += wanted * wanted;
      }
    }
  });
  DecodedSummary total;
  for (const DecodedSummary& row : by_row) {
    total.hash = (total.hash ^ row.hash) * 0x9e3779b97f4a7c15 + 1;
    total.error2 += row.error2;
    total.norm2 += row.norm2;
  }
  return total;
}

}  // namespace nibble
