// SPDX-License-Identifier: Apache-2.0
#include "models/loader.h"

#include <algorithm>

#include "base/log.h"
#include "formats/dense_rows.h"
#include "formats/transform.h"
#include "graph/passes.h"

namespace nibble {
namespace {

class Loader {
 public:
  Loader(Checkpoint& checkpoint, const LoadOptions& options, const std::vector<std::shared_ptr<ThreadTeam>>& teams,
         LoadedModel* model)
      : checkpoint_(checkpoint), options_(options), teams_(teams), model_(*model) {}

  Status Run(Progress* progress) {
    const Graph& graph = model_.graphs[0];
    model_.weights.resize(static_cast<size_t>(options_.ranks));
    int64_t done = 0;
    const auto total = static_cast<int64_t>(graph.linears.size() + graph.moes.size());
    const auto step = [&]() -> Status {
      if (progress) progress->Update("loading", ++done, total);
      checkpoint_.ReleasePages();
      if (StopRequested()) return Fail(Code::kCancelled, "loading was stopped");
      return {};
    };
    for (const VectorSpec& vector : graph.vectors) NIBBLE_RETURN_IF_ERROR(LoadVector(vector));
    for (const EmbeddingSpec& embedding : graph.embeddings) NIBBLE_RETURN_IF_ERROR(LoadEmbedding(embedding));
    for (size_t i = 0; i < graph.linears.size(); ++i) {
      NIBBLE_RETURN_IF_ERROR(LoadLinear(i));
      NIBBLE_RETURN_IF_ERROR(step());
    }
    for (size_t i = 0; i < graph.moes.size(); ++i) {
      NIBBLE_RETURN_IF_ERROR(LoadExperts(graph.moes[i]));
      NIBBLE_RETURN_IF_ERROR(step());
    }
    return {};
  }

 private:
  LinearProblem Problem(std::vector<LinearPart> parts, int64_t k) {
    return {.parts = std::move(parts),
            .k = k,
            .policy = options_.activations,
            .ignore_activation_scheme = options_.ignore_activation_scheme,
            .cache_dir = options_.pack_cache_dir,
            .arena = &arena_};
  }
  Machine ThisMachine() const { return {.isa = options_.isa, .reference_only = options_.reference}; }

  Status LoadVector(const VectorSpec& spec) {
    std::vector<float> values;
    const int64_t pieces = std::max<int64_t>(spec.pieces, 1);
    for (int64_t i = 0; i < pieces; ++i) {
      NIBBLE_TRY(const std::vector<float> piece, checkpoint_.Vector(spec.PieceName(i), spec.size / pieces));
      values.insert(values.end(), piece.begin(), piece.end());
    }
    for (int rank = 0; rank < options_.ranks; ++rank) {
      const Range mine =
          spec.shard_unit == 0 ? Range{0, spec.size} : RankShare(spec.size, spec.shard_unit, spec.shard_replicate, rank);
      model_.weights[static_cast<size_t>(rank)].vectors.emplace_back(values.begin() + mine.begin, values.begin() + mine.end);
    }
    return {};
  }

  Status LoadEmbedding(const EmbeddingSpec& spec) {
    NIBBLE_TRY(LinearPart part,
               checkpoint_.Linear({.kind = LayerKind::kEmbedding, .name = spec.name, .n = spec.rows, .k = spec.width}));
    for (BoundWeights& weights : model_.weights) weights.embeddings.push_back(part.weight);
    return {};
  }

  // A rank's share of `size` rows, cut in multiples of `unit`; replicate: fewer units than ranks, each rank has a whole one.
  Range RankShare(int64_t size, int64_t unit, bool replicate, int rank) const {
    const int64_t units = size / unit;
    if (replicate) {
      const int64_t mine = rank * units / options_.ranks;
      return {mine * unit, (mine + 1) * unit};
    }
    const Range range = SplitRange(units, rank, options_.ranks);
    return {range.begin * unit, range.end * unit};
  }
  Range RankRows(const LinearPartSpec& part, int rank) const {
    return RankShare(part.n, part.shard_unit, part.shard_replicate, rank);
  }

  Result<LinearPart> CutRows(const LinearPart& whole, Range rows) const {
    LinearPart part = whole;
    if (part.out_act.dynamic && part.out_act.grain != ActivationSpec::kNone)
      return Unsupported("the scale of its outputs is computed from all of them");
    NIBBLE_TRY(StoredWeight cut, Slice(*whole.weight, rows, {0, whole.weight->k}));
    part.weight = std::make_shared<StoredWeight>(std::move(cut));
    if (part.bias) part.bias = part.bias.Slice(0, rows.begin, rows.size());
    return part;
  }

  void NoteReplicated(const LinearPart& part, const Error& why, int rank) const {
    if (rank == 0) model_.replicated.push_back(fmt::format("{}: {}", part.weight->origin.tensor, why.message));
  }

  // Column parallel. If one part cannot be cut, every rank computes the whole layer and keeps its columns.
  Status CutAllRows(const LinearSpec& spec, const std::vector<LinearPart>& whole, int rank, std::vector<LinearPart>* parts,
                    BoundLinear* bound) const {
    int64_t n_begin = 0;
    for (size_t i = 0; i < whole.size(); ++i) {
      auto cut = CutRows(whole[i], RankRows(spec.parts[i], rank));
      if (cut) {
        (*parts)[i] = *std::move(cut);
        continue;
      }
      if (cut.error().code != Code::kUnsupported) return tl::unexpected(std::move(cut.error()));
      NoteReplicated(whole[i], cut.error(), rank);
      *parts = whole;
      for (size_t j = 0; j < whole.size(); ++j) {
        const Range rows = RankRows(spec.parts[j], rank);
        bound->keep_columns.push_back({n_begin + rows.begin, n_begin + rows.end});
        n_begin += whole[j].weight->n;
      }
      return {};
    }
    return {};
  }

  // Row parallel: the product reads columns of x; what it demands of x may need the whole row.
  Status CutColumns(const LinearPart& whole, const LinearSpec& spec, int rank, std::vector<LinearPart>* parts,
                    BoundLinear* bound) const {
    LinearPart& part = parts->front();
    const Range units = SplitRange(spec.k / spec.shard_unit_k, rank, options_.ranks);
    const Range columns{units.begin * spec.shard_unit_k, units.end * spec.shard_unit_k};
    const bool demands = whole.act.grain != ActivationSpec::kNone && !options_.ignore_activation_scheme;
    StoredWeight stripped = *whole.weight;
    if (!stripped.in.empty() || demands) {
      bound->gather = true;
      bound->column_begin = columns.begin;
      bound->whole_k = spec.k;
      bound->whole = {.transforms = stripped.in, .act = demands ? whole.act : ActivationSpec{}, .keep = stripped.keep};
      stripped.in.clear();
      part.act = {};
    }
    Result<StoredWeight> cut = Unsupported("its outputs are quantized, which their sum over ranks must be first");
    if (part.out_act.grain == ActivationSpec::kNone) cut = Slice(stripped, {0, stripped.n}, columns);
    if (!cut) {
      if (cut.error().code != Code::kUnsupported) return tl::unexpected(std::move(cut.error()));
      NoteReplicated(whole, cut.error(), rank);
      bound->gather = true;
      bound->whole_k = spec.k;
      bound->column_begin = 0;
      part.weight = std::make_shared<StoredWeight>(std::move(stripped));
      if (rank != 0) parts->clear();
      return {};
    }
    part.weight = std::make_shared<StoredWeight>(*std::move(cut));
    if (rank != 0) part.bias = {};  // added once: the sum over ranks follows
    return {};
  }

  Status LoadLinear(size_t index) {
    const LinearSpec& spec = model_.graphs[0].linears[index];
    NIBBLE_TRY(const std::vector<LinearPart> whole, LinearParts(checkpoint_, spec));
    if (spec.latent.heads > 0) return LoadLatent(spec, *whole[0].weight);
    for (int rank = 0; rank < options_.ranks; ++rank) {
      BoundLinear bound;
      std::vector<LinearPart> parts = whole;
      int64_t k = spec.k;
      if (spec.shard == Shard::kRows && options_.ranks > 1) {
        NIBBLE_RETURN_IF_ERROR(CutAllRows(spec, whole, rank, &parts, &bound));
      } else if (spec.shard == Shard::kColumns && options_.ranks > 1) {
        NIBBLE_RETURN_IF_ERROR(CutColumns(whole[0], spec, rank, &parts, &bound));
        if (!parts.empty()) k = parts[0].weight->k;
      }
      ThreadTeam& team = *teams_[static_cast<size_t>(rank)];
      LinearProblem problem = Problem(std::move(parts), k);
      if (bound.gather) problem.policy = ActivationPolicy::kF32;  // the whole row is prepared, and read from a column on
      NIBBLE_TRY(bound.packed, PrepareLinear(problem, ThisMachine(), team));
      model_.packed_bytes += bound.packed.packed_bytes;
      model_.weights[static_cast<size_t>(rank)].linears.push_back(std::move(bound));
    }
    return {};
  }

  // Values keep their format, keys are transposed and so become floats. Quantization of the layer's input does not apply: the
  // latent is read from the cache. Transforms are multiplied in.
  Status LoadLatent(const LinearSpec& spec, const StoredWeight& stored) {
    const auto& [heads, keys, values] = spec.latent;
    NIBBLE_TRY(const StoredWeight whole, MultiplyIn(stored));
    for (int rank = 0; rank < options_.ranks; ++rank) {
      const Range mine = SplitRange(heads, rank, options_.ranks);
      BoundLinear bound;
      for (int64_t head = mine.begin; head < mine.end; ++head) {
        const int64_t begin = head * (keys + values);
        NIBBLE_TRY(StoredWeight value, nibble::CutRows(whole, {begin + keys, begin + keys + values}));
        NIBBLE_TRY(bound.latent_keys.emplace_back(), PrepareOne(TransposedRows(whole, {begin, begin + keys}), rank));
        NIBBLE_TRY(bound.latent_values.emplace_back(), PrepareOne(std::move(value), rank));
      }
      model_.weights[static_cast<size_t>(rank)].linears.push_back(std::move(bound));
    }
    return {};
  }
  Result<PackedWeight> PrepareOne(StoredWeight weight, int rank) {
    const int64_t k = weight.k;
    LinearPart part{.weight = std::make_shared<StoredWeight>(std::move(weight))};
    ThreadTeam& team = *teams_[static_cast<size_t>(rank)];
    LinearProblem problem = Problem({std::move(part)}, k);
    problem.policy = ActivationPolicy::kF32;
    NIBBLE_TRY(PackedWeight packed, PrepareLinear(problem, ThisMachine(), team));
    model_.packed_bytes += packed.packed_bytes;
    return packed;
  }

  Status LoadExperts(const MoeSpec& spec) {
    for (BoundWeights& weights : model_.weights) weights.moes.emplace_back(static_cast<size_t>(spec.experts));
    for (int64_t e = 0; e < spec.experts; ++e) {
      const auto matrix = [&](MoeMatrix which) {
        const bool down = which == MoeMatrix::kDown;
        return checkpoint_.Expert({.prefix = spec.prefix,
                                   .other_prefixes = spec.prefixes_on_disk,
                                   .expert = e,
                                   .which = which,
                                   .n = down ? spec.hidden : spec.inter,
                                   .k = down ? spec.inter : spec.hidden,
                                   .stacked_transposed = spec.stacked_transposed,
                                   .stacked_interleaved = spec.stacked_interleaved});
      };
      NIBBLE_TRY(LinearPart gate, matrix(MoeMatrix::kGate));
      NIBBLE_TRY(LinearPart up, matrix(MoeMatrix::kUp));
      NIBBLE_TRY(LinearPart down, matrix(MoeMatrix::kDown));
      for (int rank = 0; rank < options_.ranks; ++rank) {  // experts are divided among ranks, whole
        const Range mine = SplitRange(spec.experts, rank, options_.ranks);
        if (e < mine.begin || e >= mine.end) continue;
        BoundExpert& expert = model_.weights[static_cast<size_t>(rank)].moes.back()[static_cast<size_t>(e)];
        ThreadTeam& team = *teams_[static_cast<size_t>(rank)];
        NIBBLE_TRY(expert.w13, PrepareLinear(Problem({gate, up}, spec.hidden), ThisMachine(), team));
        NIBBLE_TRY(expert.w2, PrepareLinear(Problem({down}, spec.inter), ThisMachine(), team));
        model_.packed_bytes += expert.w13.packed_bytes + expert.w2.packed_bytes;
      }
    }
    return {};
  }

  Checkpoint& checkpoint_;
  const LoadOptions& options_;
  const std::vector<std::shared_ptr<ThreadTeam>>& teams_;
  LoadedModel& model_;
  Arena arena_;
};

Status CheckShape(const LinearPart& part, const std::string& name, int64_t n, int64_t k) {
  const StoredWeight& w = *part.weight;
  if (w.n != n || w.k != k)
    return Corrupt(
        "{}: module \"{}\" is [{},{}] as stored, config.json asks for [{},{}]; the config does not belong to these weights",
        w.origin.file, name, w.n, w.k, n, k);
  NIBBLE_RETURN_IF_ERROR(CheckTransforms(w.in, k));
  return CheckTransforms(w.out, n);
}

Status CheckLeftovers(Checkpoint& checkpoint, const Architecture& architecture, const ModelConfig& config) {
  if (architecture.unused_tensors)
    for (const std::string& part : architecture.unused_tensors(config)) checkpoint.Ignore(part);
  const std::vector<std::string> left = checkpoint.Unclaimed();
  if (left.empty()) return {};
  std::string names;
  for (size_t i = 0; i < left.size() && i < 5; ++i) names += (i ? ", " : "") + left[i];
  return Corrupt("{}: {} tensors belong to nothing that architecture {} has: {}{}; is model_type right?", checkpoint.path(),
                 left.size(), architecture.name, names, left.size() > 5 ? ", ..." : "");
}

// What the checkpoint says of each layer's K and V, cut to the heads of each rank.
Status BindKvRules(Checkpoint& checkpoint, LoadedModel* model) {
  const auto ranks = static_cast<int64_t>(model->graphs.size());
  for (size_t layer = 0; layer < model->graphs[0].states.size(); ++layer) {
    const auto& [name, heads] = model->graphs[0].attention_modules[layer];
    if (IsRewritten(model->graphs[0].states[layer].kind)) {  // no keys and values
      for (BoundWeights& weights : model->weights) weights.kv_rules.emplace_back();
      continue;
    }
    NIBBLE_TRY(const KvRules whole, checkpoint.KvScales(name));
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const LayerState& state = model->graphs[static_cast<size_t>(rank)].states[layer];
      KvRules mine;
      NIBBLE_TRY_IN(name + ".k_proj", mine.k, whole.k.ForHeads(rank * heads / ranks, state.heads, heads, state.k_dim));
      NIBBLE_TRY_IN(name + ".v_proj", mine.v, whole.v.ForHeads(rank * heads / ranks, state.heads, heads, state.v_dim));
      model->weights[static_cast<size_t>(rank)].kv_rules.push_back(std::move(mine));
    }
  }
  return {};
}

}  // namespace

Result<ModelConfig> ConfigOf(const Checkpoint& checkpoint, const LoadOptions& options) {
  Json json = checkpoint.config();
  if (!options.architecture_as.empty()) {
    json["model_type"] = options.architecture_as;
    if (JsonFind(json, "text_config")) json["text_config"]["model_type"] = options.architecture_as;
  }
  const std::string& path = checkpoint.path();
  return ParseModelConfig(json, path.ends_with(".json") || path.ends_with(".gguf") ? path : path + "/config.json");
}

void UseNamesOf(const Architecture& architecture, Checkpoint& checkpoint) {
  static constexpr NamePrefix kTextOfMany[] = {
      {"model.", "language_model.model."}, {"model.", "model.language_model."}, {"lm_head", "language_model.lm_head"}};
  static constexpr const char* kOtherThanText[] = {"vision_tower.", "vision_model.", "visual.", "multi_modal_projector."};
  for (const auto& [name, on_disk] : architecture.prefixes) checkpoint.LookUnder(name, on_disk);
  for (const auto& [name, on_disk] : kTextOfMany) checkpoint.LookUnder(name, on_disk);
  for (const std::string_view part : architecture.ignored_tensors) checkpoint.Ignore(std::string(part));
  if (!JsonFind(checkpoint.config(), "text_config")) return;
  for (const char* part : kOtherThanText) checkpoint.Ignore(part);
}

Result<Graph> BuildGraph(const ModelConfig& config, int rank, int ranks) {
  NIBBLE_TRY_IN(config.where, const Architecture* architecture, FindArchitecture(config.model_type));
  return architecture->build(config, rank, ranks);
}

Result<std::optional<KvFormats>> KvScheme(const Checkpoint& checkpoint, const Graph& graph) {
  const auto& modules = graph.attention_modules;
  const auto first = std::find_if(modules.begin(), modules.end(), [](const auto& module) { return !module.name.empty(); });
  if (first == modules.end()) return std::nullopt;
  NIBBLE_TRY(const auto method, checkpoint.KvMethod(first->name));
  return method ? method->formats() : std::nullopt;
}

Checkpoint::LinearQuery QueryOf(const LinearSpec& spec, const LinearPartSpec& part) {
  return {.kind = spec.is_lm_head ? LayerKind::kLmHead : LayerKind::kLinear,
          .name = part.name,
          .n = part.n,
          .k = spec.k,
          .fused_name = part.fused_name,
          .fused_row = part.fused_row,
          .fused_n = part.fused_n,
          .fused_block = part.fused_block,
          .fused_stride = part.fused_stride,
          .transposed = part.transposed,
          .bias = part.bias,
          .keep_float = spec.is_router};
}

Result<std::vector<LinearPart>> LinearParts(Checkpoint& checkpoint, const LinearSpec& spec) {
  std::vector<LinearPart> parts;
  for (const LinearPartSpec& part : spec.parts) {
    Checkpoint::LinearQuery query = QueryOf(spec, part);
    const bool tied = spec.is_lm_head && !spec.tied_to.empty();
    if (tied) {  // a head stored beside a tied embedding is a copy
      query.kind = LayerKind::kEmbedding;
      query.name = spec.tied_to;
      query.bias = false;
    }
    NIBBLE_TRY(LinearPart bound, checkpoint.Linear(query));
    NIBBLE_RETURN_IF_ERROR(CheckShape(bound, query.name, part.n, spec.k));
    if (tied && part.bias) {  // the bias is the head's own
      NIBBLE_TRY(std::vector<float> values, checkpoint.Vector(part.name + ".bias", part.n));
      const auto kept = std::make_shared<const std::vector<float>>(std::move(values));
      bound.bias = TensorView(kept->data(), DType::kF32, {part.n});
      bound.bias_keep = kept;
    }
    parts.push_back(std::move(bound));
    if (tied) checkpoint.Ignore(part.name + ".");
  }
  return parts;
}

Result<LoadedModel> LoadModel(Checkpoint& checkpoint, const LoadOptions& options,
                              const std::vector<std::shared_ptr<ThreadTeam>>& teams, Progress* progress) {
  LoadedModel model;
  NIBBLE_TRY(model.config, ConfigOf(checkpoint, options));
  NIBBLE_TRY_IN(model.config.where, model.architecture, FindArchitecture(model.config.model_type));
  for (int rank = 0; rank < options.ranks; ++rank) {
    NIBBLE_TRY(Graph graph, model.architecture->build(model.config, rank, options.ranks));
    model.graphs.push_back(std::move(graph));
  }
  UseNamesOf(*model.architecture, checkpoint);
  NIBBLE_RETURN_IF_ERROR(Loader(checkpoint, options, teams, &model).Run(progress));
  NIBBLE_RETURN_IF_ERROR(BindKvRules(checkpoint, &model));
  NIBBLE_RETURN_IF_ERROR(CheckLeftovers(checkpoint, *model.architecture, model.config));
  for (size_t rank = 0; rank < model.graphs.size(); ++rank) {
    model.graphs[rank].batch_scales = options.batch_scales;
    InsertPrepare(&model.graphs[rank], model.weights[rank]);
    FuseRowwise(&model.graphs[rank]);
    RepeatRowwise(&model.graphs[rank]);
    PlanBuffers(&model.graphs[rank]);
  }
  return model;
}

}  // namespace nibble
