// SPDX-License-Identifier: Apache-2.0
#include "models/matrices.h"

#include <algorithm>
#include <set>

#include "base/nearest_names.h"

namespace nibble {
namespace {

constexpr const char* kExpertNames[] = {"gate_proj", "up_proj", "down_proj"};

// Place in the list: embeddings first, layers by number, the rest last.
int64_t LayerOrder(const NamedMatrix& matrix) {
  if (matrix.kind == NamedMatrix::kEmbedding) return -1;
  const size_t at = matrix.name.find(".layers.");
  if (at == std::string::npos) return INT64_MAX;
  return std::strtoll(matrix.name.c_str() + at + 8, nullptr, 10);
}

bool StripSuffix(std::string* name, std::string_view suffix) {
  if (!name->ends_with(suffix) || name->size() == suffix.size()) return false;
  name->resize(name->size() - suffix.size());
  return true;
}

// "<prefix>.<number>.<matrix>", prefix ending in "experts".
struct ExpertName {
  std::string prefix, number, matrix;
};
std::optional<ExpertName> ParseExpert(std::string_view name) {
  constexpr std::string_view kMark = "experts.";
  const size_t at = name.rfind(kMark);
  if (at == std::string_view::npos || (at > 0 && name[at - 1] != '.')) return std::nullopt;
  const std::string_view rest = name.substr(at + kMark.size());
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos || dot == 0 ||
      !std::all_of(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(dot), [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  return ExpertName{std::string(name.substr(0, at + kMark.size() - 1)), std::string(rest.substr(0, dot)),
                    std::string(rest.substr(dot + 1))};
}

std::string CanonicalExpertMatrix(const std::string& name) {
  if (name == "w1") return "gate_proj";
  if (name == "w3") return "up_proj";
  if (name == "w2") return "down_proj";
  return name;
}

NamedMatrix Linear(NamedMatrix::Kind kind, LayerKind layer, const std::string& name, int64_t n, int64_t k) {
  NamedMatrix matrix{.kind = kind, .name = name, .n = n, .k = k};
  matrix.query = {.kind = layer, .name = name, .n = n, .k = k};
  return matrix;
}

Status CheckMatrixShape(const LinearPart& part, const NamedMatrix& matrix) {
  const StoredWeight& w = *part.weight;
  if (matrix.n == 0 || (w.n == matrix.n && w.k == matrix.k)) return {};
  return Corrupt(
      "{}: module \"{}\" is [{},{}] as stored, config.json asks for [{},{}]; the config does not belong to these weights",
      w.origin.file, matrix.name, w.n, w.k, matrix.n, matrix.k);
}

}  // namespace

void ExpectSparseReads(const Checkpoint& checkpoint) {
  const MappedFile* last = nullptr;
  for (const StoredTensor& tensor : checkpoint.tensors().tensors()) {
    if (tensor.keep && tensor.keep.get() != last) tensor.keep->ExpectSparseReads();
    last = tensor.keep.get();
  }
}

Result<MatrixTable> MatrixTable::Of(Checkpoint& checkpoint, const LoadOptions& options) {
  MatrixTable table(checkpoint);
  auto config = ConfigOf(checkpoint, options);
  if (config) {
    const auto architecture = FindArchitecture(config->model_type);
    table.known_ = architecture.has_value();
    if (table.known_) {
      UseNamesOf(**architecture, checkpoint);
      NIBBLE_TRY(const Graph graph, (*architecture)->build(*config, 0, 1));
      table.AddGraph(graph);
    }
  }
  if (!table.known_) table.AddStored(checkpoint);
  std::stable_sort(table.matrices_.begin(), table.matrices_.end(),
                   [](const NamedMatrix& a, const NamedMatrix& b) { return LayerOrder(a) < LayerOrder(b); });
  table.Index();
  return table;
}

void MatrixTable::AddBias(const std::string& module, int64_t size) {
  if (checkpoint_->Has(module + ".bias")) matrices_.push_back({.kind = NamedMatrix::kVector, .name = module + ".bias", .n = size});
}

void MatrixTable::AddGraph(const Graph& graph) {
  for (const EmbeddingSpec& e : graph.embeddings)
    matrices_.push_back(Linear(NamedMatrix::kEmbedding, LayerKind::kEmbedding, e.name, e.rows, e.width));
  std::set<std::string> fused;
  for (const LinearSpec& spec : graph.linears) {
    for (const LinearPartSpec& part : spec.parts) {
      NamedMatrix matrix = Linear(spec.is_lm_head ? NamedMatrix::kLmHead : NamedMatrix::kLinear,
                                  spec.is_lm_head ? LayerKind::kLmHead : LayerKind::kLinear, part.name, part.n, spec.k);
      matrix.tied_to = spec.tied_to;
      if (!spec.tied_to.empty()) {
        matrix.query.kind = LayerKind::kEmbedding;
        matrix.query.name = spec.tied_to;
      }
      matrix.query.fused_name = part.fused_name;
      matrix.query.fused_row = part.fused_row;
      matrix.query.fused_n = part.fused_n;
      matrix.query.fused_block = part.fused_block;
      matrix.query.fused_stride = part.fused_stride;
      matrix.query.transposed = part.transposed;
      matrix.query.bias = part.bias;
      matrices_.push_back(std::move(matrix));
      if (part.bias) AddBias(part.name, part.n);
      if (part.fused_name.empty() || !checkpoint_->HasModule(part.fused_name) || !fused.insert(part.fused_name).second) continue;
      aliases_.push_back(Linear(NamedMatrix::kLinear, LayerKind::kLinear, part.fused_name, part.fused_n, spec.k));
      if (part.bias) AddBias(part.fused_name, part.fused_n);
    }
  }
  for (const MoeSpec& moe : graph.moes) AddExperts(moe);
  for (const VectorSpec& v : graph.vectors)
    for (int64_t i = 0, pieces = std::max<int64_t>(v.pieces, 1); i < pieces; ++i)
      matrices_.push_back({.kind = NamedMatrix::kVector, .name = v.PieceName(i), .n = v.size / pieces});
}

void MatrixTable::AddExperts(const MoeSpec& moe) {
  for (const std::string& other : moe.prefixes_on_disk) prefixes_[other] = moe.prefix;
  for (int64_t e = 0; e < moe.experts; ++e) {
    for (const MoeMatrix which : {MoeMatrix::kGate, MoeMatrix::kUp, MoeMatrix::kDown}) {
      NamedMatrix matrix{.kind = NamedMatrix::kExpert,
                         .name = fmt::format("{}.{}.{}", moe.prefix, e, kExpertNames[static_cast<int>(which)])};
      matrix.n = which == MoeMatrix::kDown ? moe.hidden : moe.inter;
      matrix.k = which == MoeMatrix::kDown ? moe.inter : moe.hidden;
      matrix.experts = moe.prefix;
      matrix.other_experts = moe.prefixes_on_disk;
      matrix.stacked_transposed = moe.stacked_transposed;
      matrix.stacked_interleaved = moe.stacked_interleaved;
      matrix.expert = e;
      matrix.which = which;
      matrices_.push_back(std::move(matrix));
    }
  }
}

// All experts in one tensor: "<prefix>.gate_up_proj" [E,2I,H] and "<prefix>.down_proj" [E,H,I]. Nothing when the shapes say
// otherwise.
void MatrixTable::AddStoredExperts(const StoredTensor& tensor) {
  std::string name = tensor.name;
  StripSuffix(&name, ".weight");
  if (!StripSuffix(&name, ".gate_up_proj") || tensor.shape.rank() != 3 || tensor.ggml) return;
  const StoredTensor* down = checkpoint_->tensors().Find(name + ".down_proj");
  if (!down) down = checkpoint_->tensors().Find(name + ".down_proj.weight");
  if (!down || !(down->shape == Shape({tensor.shape[0], tensor.shape[2], tensor.shape[1] / 2}))) return;
  AddExperts({.prefix = name,
              .prefixes_on_disk = {},
              .experts = tensor.shape[0],
              .hidden = tensor.shape[2],
              .inter = tensor.shape[1] / 2});
}

// The split names of a fused module, where sizes can be known without the architecture.
void MatrixTable::AddStoredFused(const std::string& module) {
  std::string before = module;
  const bool gate_up = StripSuffix(&before, "gate_up_proj");
  if (!gate_up && !StripSuffix(&before, "qkv_proj")) return;
  const auto part = checkpoint_->Linear({.name = module});
  if (!part) return;  // asking for the module itself says why
  const int64_t total = part->weight->n, k = part->weight->k;
  std::vector<std::pair<const char*, int64_t>> rows;
  if (gate_up && total % 2 == 0) {
    rows = {{"gate_proj", total / 2}, {"up_proj", total / 2}};
  } else if (const auto config = ConfigOf(*checkpoint_, {}); !gate_up && config) {
    const int64_t q = config->heads * config->head_dim, kv = config->kv_heads * config->head_dim;
    if (total == q + 2 * kv) rows = {{"q_proj", q}, {"k_proj", kv}, {"v_proj", kv}};
  }
  int64_t row = 0;
  for (const auto& [name, n] : rows) {
    NamedMatrix matrix = Linear(NamedMatrix::kLinear, LayerKind::kLinear, before + name, n, k);
    matrix.query.fused_name = module;
    matrix.query.fused_row = row;
    matrix.query.fused_n = total;
    aliases_.push_back(std::move(matrix));
    row += n;
  }
}

void MatrixTable::AddStoredModule(const std::string& module, bool matrix) {
  if (!matrix) {
    for (const char* suffix : {".weight", ".bias"})
      if (const StoredTensor* t = checkpoint_->tensors().Find(module + suffix); t && t->shape.rank() == 1 && IsFloat(t->view.dtype))
        matrices_.push_back({.kind = NamedMatrix::kVector, .name = t->name, .n = t->shape[0]});
    return;
  }
  NamedMatrix::Kind kind = NamedMatrix::kLinear;
  LayerKind layer = LayerKind::kLinear;
  if (module == "lm_head" || module.ends_with(".lm_head")) {
    kind = NamedMatrix::kLmHead;
    layer = LayerKind::kLmHead;
  } else if (module.ends_with("embed_tokens") || module.ends_with(".wte")) {
    kind = NamedMatrix::kEmbedding;
    layer = LayerKind::kEmbedding;
  }
  NamedMatrix entry = Linear(kind, layer, module, 0, 0);
  if (const auto expert = ParseExpert(module)) {
    entry.kind = NamedMatrix::kExpert;
    entry.query.kind = LayerKind::kExpert;
    std::string prefix = expert->prefix;
    if (StripSuffix(&prefix, "block_sparse_moe.experts")) prefix += "mlp.experts";
    if (prefix != expert->prefix) prefixes_[expert->prefix] = prefix;
    entry.name = fmt::format("{}.{}.{}", prefix, expert->number, CanonicalExpertMatrix(expert->matrix));
  }
  matrices_.push_back(std::move(entry));
  AddBias(module, 0);
  AddStoredFused(module);
}

void MatrixTable::AddStored(const Checkpoint& checkpoint) {
  std::vector<std::string> order;
  std::map<std::string, bool, std::less<>> modules;  // has a tensor of two dimensions
  for (const StoredTensor& tensor : checkpoint.tensors().tensors()) {
    AddStoredExperts(tensor);
    const size_t dot = tensor.name.find_last_of('.');
    if (dot == std::string::npos) continue;
    const auto [it, fresh] = modules.try_emplace(tensor.name.substr(0, dot), false);
    if (fresh) order.push_back(it->first);
    it->second |= tensor.shape.rank() == 2;
  }
  for (const std::string& module : order) AddStoredModule(module, modules.find(module)->second);
  for (const NamedMatrix& m : matrices_)
    if (m.kind == NamedMatrix::kLmHead) return;
  for (const NamedMatrix& m : matrices_) {  // no head of its own: the embedding serves
    if (m.kind != NamedMatrix::kEmbedding || m.name != "model.embed_tokens") continue;
    NamedMatrix head = m;
    head.kind = NamedMatrix::kLmHead;
    head.name = "lm_head";
    head.tied_to = m.name;
    matrices_.push_back(std::move(head));
    return;
  }
}

void MatrixTable::Index() {
  for (size_t i = 0; i < matrices_.size(); ++i) by_name_.emplace(matrices_[i].name, i);
  for (size_t i = 0; i < aliases_.size(); ++i) alias_by_name_.emplace(aliases_[i].name, i);
}

Result<NamedMatrix> MatrixTable::Find(std::string_view asked) const {
  std::string name(asked);
  const auto find = [&](const std::string& each) -> const NamedMatrix* {
    if (const auto it = by_name_.find(each); it != by_name_.end()) return &matrices_[it->second];
    if (const auto it = alias_by_name_.find(each); it != alias_by_name_.end()) return &aliases_[it->second];
    return nullptr;
  };
  if (const NamedMatrix* found = find(name)) return *found;
  if (const NamedMatrix* found = find(name + ".weight")) return *found;  // vectors
  if (const StoredTensor* t = checkpoint_->tensors().Find(name); t && t->shape.rank() == 1 && IsFloat(t->view.dtype))
    return NamedMatrix{.kind = NamedMatrix::kVector, .name = name, .n = t->shape[0]};
  StripSuffix(&name, ".weight");
  if (const NamedMatrix* found = find(name)) return *found;
  if (const auto expert = ParseExpert(name)) {
    const auto prefix = prefixes_.find(expert->prefix);
    const std::string canonical = fmt::format("{}.{}.{}", prefix == prefixes_.end() ? expert->prefix : prefix->second,
                                              expert->number, CanonicalExpertMatrix(expert->matrix));
    if (const NamedMatrix* found = find(canonical)) return *found;
  }
  std::vector<std::string_view> names;
  for (const NamedMatrix& m : matrices_) names.push_back(m.name);
  for (const NamedMatrix& m : aliases_) names.push_back(m.name);
  return NotFound("{}: no matrix \"{}\"; the nearest names are {}; `nibble inspect` lists all", checkpoint_->path(), asked,
                  NearestNames(name, names));
}

Result<LinearPart> MatrixTable::Load(const NamedMatrix& m) const {
  if (m.kind == NamedMatrix::kVector) return Usage("\"{}\" is a vector, not a matrix", m.name);
  NIBBLE_TRY(LinearPart part, m.expert >= 0 ? checkpoint_->Expert({m.experts, m.other_experts, m.expert, m.which, m.n, m.k,
                                                                   m.stacked_transposed, m.stacked_interleaved})
                                            : checkpoint_->Linear(m.query));
  NIBBLE_RETURN_IF_ERROR(CheckMatrixShape(part, m));
  return part;
}

Result<std::vector<float>> MatrixTable::LoadVector(const NamedMatrix& m) const {
  const StoredTensor* tensor = checkpoint_->tensors().Find(m.name);
  return checkpoint_->Vector(m.name, m.n == 0 && tensor ? tensor->shape.elems() : m.n);
}

}  // namespace nibble
