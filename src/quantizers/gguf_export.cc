// SPDX-License-Identifier: Apache-2.0
#include "quantizers/gguf_export.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>

#include "base/log.h"
#include "methods/gguf/architecture.h"
#include "methods/gguf/tensors.h"
#include "quantizers/float_tensors.h"
#include "quantizers/gguf_keys.h"
#include "quantizers/graph_text.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr int64_t kF32 = 0, kF16 = 1, kQ8 = 8, kBF16 = 30;

struct TypeRow {
  const char* name;
  int64_t type;
  uint32_t file_type;  // general.file_type
  double tolerance;    // relative error of a matrix
};
constexpr TypeRow kTypes[] = {{"f32", kF32, 0, 0}, {"f16", kF16, 1, 0x1p-9}, {"bf16", kBF16, 32, 0x1p-7}, {"q8_0", kQ8, 7, 0.03}};

constexpr const char* kPlainDecoder = "llama";  // whose names decoders without a row of their own have

// One tensor of the file: matrices one after another (experts of a layer, parts of a fused tensor), or a vector.
struct Planned {
  GgufDeclaration declaration;
  std::vector<const SourceModule*> modules;
  std::vector<float> vector;
  GgufName::Rule rule = GgufName::kPlain;
  GgufName::Tiles tiles = GgufName::kNone;
  int64_t permuted_heads = 0;  // > 0: rows of each head go into interleaved rope order
};

std::string ModuleOf(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

class Export {
 public:
  Export(Checkpoint& source, const SourceModel& model, const ConvertOptions& options, Progress* progress)
      : source_(source), model_(model), options_(options), progress_(progress), team_(options.threads) {}

  Result<ConvertReport> Run(const std::string& out) {
    NIBBLE_RETURN_IF_ERROR(CheckOutput(out));
    NIBBLE_TRY(graph_, BuildGraph(model_.config, 0, 1));
    NIBBLE_RETURN_IF_ERROR(ChooseType());
    NIBBLE_RETURN_IF_ERROR(ChooseArchitecture());
    NIBBLE_RETURN_IF_ERROR(Metadata());
    const std::string temporary = out + ".partial";
    const Status status = WriteAndCheck(temporary);
    if (!status || std::rename(temporary.c_str(), out.c_str()) != 0) {
      const int failed = errno;
      std::remove(temporary.c_str());
      if (!status) return tl::unexpected<Error>(status.error());
      return IoError(failed, fmt::format("{}: cannot rename {} to it", out, temporary));
    }
    report_.tensors = static_cast<int64_t>(planned_.size());
    report_.dtype = type_->name;
    return report_;
  }

 private:
  Status CheckOutput(const std::string& out) const {
    std::error_code error;
    if (!out.ends_with(".gguf")) return Usage("{}: the name of a GGUF file ends with .gguf", out);
    if (std::filesystem::is_directory(out, error)) return Usage("{}: is a folder", out);
    if (std::filesystem::exists(out, error) && !options_.force)
      return Usage("{}: exists already; give another name, or --force to replace it", out);
    if (std::filesystem::equivalent(out, source_.path(), error)) return Usage("{}: is the source itself", out);
    return {};
  }

  // The first row of the model type that has a tensor for everything. Types without a row: as a plain decoder.
  // Whether the model is one is checked on the result.
  Status ChooseArchitecture() {
    std::vector<const GgufArchitecture*> rows = GgufRowsOf(model_.config.model_type);
    if (rows.empty()) rows = GgufRowsOf(kPlainDecoder);
    Status planned;
    for (const GgufArchitecture* row : rows) {
      architecture_ = row;
      planned_.clear();
      taken_.clear();
      biases_.clear();
      planned = Plan();
      if (planned || planned.error().code != Code::kUnsupported) return planned;
    }
    return planned;
  }

  Status ChooseType() {
    const std::string name = options_.dtype.empty() ? DTypeName(model_.dtype) : options_.dtype;
    for (const TypeRow& row : kTypes)
      if (name == row.name) type_ = &row;
    if (!type_) return Usage("--dtype {}: a GGUF file can be written as f32, f16, bf16 or q8_0", name);
    return {};
  }

  int64_t TypeFor(const SourceModule& module) const {
    if (module.role == ModuleRole::kRouter) return kF32;
    return type_->type == kQ8 && module.k % 32 != 0 ? kF16 : type_->type;
  }

  // Every matrix that the graph has, part by part, and fused modules of the source under their own names.
  void ListModules() {
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

  Result<const LinearPart*> Bound(const SourceModule* module) {
    const auto found = parts_.find(module);
    if (found != parts_.end()) return &found->second;
    NIBBLE_TRY_IN(source_.path(), LinearPart part, BindModule(source_, *module));
    return &(parts_[module] = std::move(part));
  }

  // The source's matrix of this name, if nobody took it yet; a fused one takes its parts.
  const SourceModule* Free(const std::string& name) const {
    if (const auto found = modules_.find(name); found != modules_.end()) return taken_.count(name) ? nullptr : &found->second;
    const auto found = fused_.find(name);
    if (found == fused_.end()) return nullptr;
    for (const std::string& part : parts_of_.at(name))
      if (taken_.count(part)) return nullptr;
    return &found->second;
  }
  void Take(const std::string& name) {
    taken_.insert(name);
    if (const auto parts = parts_of_.find(name); parts != parts_of_.end() && !modules_.count(name))
      taken_.insert(parts->second.begin(), parts->second.end());
  }

  // The tensors of the hub that one of the file holds, experts counted out.
  static std::vector<std::string> Listed(const HubName& hub, int64_t experts) {
    if (!hub.experts) return hub.tensors;
    std::vector<std::string> names;
    for (int64_t e = 0; e < experts; ++e)
      for (std::string name : hub.tensors) {
        name.replace(name.find('*'), 1, std::to_string(e));
        names.push_back(name);
      }
    return names;
  }

  // Whether the source has what this tensor holds; then it is in the plan.
  Result<bool> PlanMatrix(const std::string& gguf, const HubName& hub, const std::vector<std::string>& tensors) {
    Planned planned{.rule = hub.rule};
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
    planned_.push_back(std::move(planned));
    return true;
  }

  // kv_b_proj: heads of `plain` rows of keys, then v rows of values.
  Status PlanLatent(const SourceModule& module, Planned* planned) {
    NIBBLE_TRY(const int64_t plain, JsonInt(model_.config.json, "qk_nope_head_dim", 128));
    const int64_t heads = model_.config.heads, v = module.n / heads - plain;
    const bool keys = planned->rule == GgufName::kKeyRows;
    planned->declaration.shape = keys ? Shape{heads, module.k, plain} : Shape{heads, v, module.k};
    if (keys && TypeFor(module) == kQ8 && plain % 32 != 0) planned->declaration.type = kF16;
    return {};
  }

  Result<bool> PlanVector(const std::string& gguf, const HubName& hub, const std::vector<std::string>& tensors) {
    Planned planned{.rule = hub.rule};
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
    if (hub.tiles == GgufName::kNumbers) Tile(shape[0], &planned.vector);
    for (float& value : planned.vector) {
      if (hub.rule == GgufName::kPlusOne) value += 1;
      if (hub.rule == GgufName::kNegExp) value = -std::exp(value);
    }
    if (hub.rope_rows)
      Permute(gguf.ends_with("attn_k.bias") ? model_.config.kv_heads : model_.config.heads,
              static_cast<int64_t>(planned.vector.size()), 1, &planned.vector);
    planned.declaration = {gguf, shape, kF32};
    planned_.push_back(std::move(planned));
    return true;
  }

  // As stored, without dimensions of one (convolutions have such).
  Shape ShapeOf(const std::string& tensor, int64_t size) const {
    const StoredTensor* stored = source_.tensors().Find(tensor);
    std::vector<int64_t> dims;
    if (stored && stored->shape.elems() == size)
      for (int i = 0; i < stored->shape.rank(); ++i)
        if (stored->shape[i] != 1) dims.push_back(stored->shape[i]);
    return dims.empty() ? Shape{size} : Shape(dims);
  }

  Status Plan() {
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
    return CheckAllPlanned();
  }

  Status PlanLayerNumbers() {
    for (const GgufName& row : architecture_->layer_numbers) {
      std::vector<float> values;
      for (int64_t layer = 0; layer < model_.config.layers; ++layer) {
        const std::string name = fmt::format("{}.{}.{}", architecture_->layers, layer, row.hub);
        NIBBLE_TRY(const std::vector<float> one, source_.Vector(name, 1));
        values.push_back(one[0]);
        vectors_[name] = {1, true};
      }
      keys_.F32s(row.gguf, values);
    }
    return {};
  }

  Status CheckAllPlanned() const {
    std::string left;
    for (const auto& [name, module] : modules_)
      if (!taken_.count(name)) left = name;
    for (const auto& [name, vector] : vectors_)
      if (!vector.second) left = name;
    if (left.empty() && !biases_.empty()) left = biases_.begin()->first;
    if (left.empty()) return {};
    return Unsupported("{}: GGUF's {} has no tensor for \"{}\"", source_.path(), architecture_->name, left);
  }

  Status Metadata();

  static void Permute(int64_t heads, int64_t n, int64_t k, std::vector<float>* values) {
    std::vector<float> out(values->size());
    const int64_t d = n / heads;
    for (int64_t row = 0; row < n; ++row) {
      const int64_t head = row / d, h = row % d / (d / 2), i = row % (d / 2);
      std::copy_n(values->data() + row * k, k, out.data() + (head * d + 2 * i + h) * k);
    }
    *values = std::move(out);
  }

  // Rows into the order that TiledHeads says.
  void Tile(int64_t rows, std::vector<float>* values) const {
    const std::vector<int32_t> map = TiledHeads(model_.config.json, rows);
    if (map.empty()) return;
    const auto width = static_cast<int64_t>(values->size()) / rows;
    std::vector<float> out(values->size());
    for (int64_t row = 0; row < rows; ++row)
      std::copy_n(values->data() + row * width, width, out.data() + map[static_cast<size_t>(row)] * width);
    *values = std::move(out);
  }
  void TileColumns(int64_t columns, std::vector<float>* values) const {
    const std::vector<int32_t> map = TiledHeads(model_.config.json, columns);
    if (map.empty()) return;
    std::vector<float> out(values->size());
    for (size_t begin = 0; begin < out.size(); begin += map.size())
      for (size_t i = 0; i < map.size(); ++i) out[begin + static_cast<size_t>(map[i])] = (*values)[begin + i];
    *values = std::move(out);
  }

  Result<std::vector<std::byte>> Encode(const std::string& name, int64_t type, const std::vector<float>& values, int64_t k) {
    const auto rows = static_cast<int64_t>(values.size()) / k;
    if (type == kF16)
      for (const float value : values)
        if (std::fabs(value) >= 65520.0f && std::isfinite(value))
          return Usage("tensor \"{}\": {} does not fit into f16; give --dtype bf16 or f32", name, value);
    if (type != kQ8) {
      const DType dtype = type == kF32 ? DType::kF32 : type == kF16 ? DType::kF16 : DType::kBF16;
      std::vector<std::byte> bytes(values.size() * static_cast<size_t>(DTypeBytes(dtype)));
      ConvertFromF32(dtype, values.data(), static_cast<int64_t>(values.size()), bytes.data());
      return bytes;
    }
    const FormatId format = FindGgmlFormat(kQ8);
    if (!format || !format->encode) return Unsupported("this build does not encode q8_0");
    std::vector<std::byte> bytes(static_cast<size_t>(rows * format->row_bytes(k)));
    team_.Run([&](int worker) {
      const Range mine = SplitRange(rows, worker, team_.size());
      for (int64_t row = mine.begin; row < mine.end; ++row)
        format->encode(values.data() + row * k, k, bytes.data() + row * format->row_bytes(k));
    });
    return bytes;
  }

  Status WriteTensor(const Planned& planned, GgufWriter* writer) {
    const std::string& name = planned.declaration.name;
    const auto put = [&](int64_t k, const std::vector<float>& values) -> Status {
      NIBBLE_TRY(const std::vector<std::byte> bytes, Encode(name, planned.declaration.type, values, k));
      sums_.Add(name, bytes);
      return writer->Write(name, bytes);
    };
    if (planned.modules.empty()) return put(static_cast<int64_t>(planned.vector.size()), planned.vector);
    for (const SourceModule* module : planned.modules) {
      std::vector<float> values(static_cast<size_t>(module->n * module->k));
      NIBBLE_RETURN_IF_ERROR(DecodeWhole(*parts_[module].weight, module->name, team_, values.data()));
      if (planned.permuted_heads > 0) Permute(planned.permuted_heads, module->n, module->k, &values);
      if (planned.tiles == GgufName::kRows && module == planned.modules.back()) Tile(module->n, &values);
      if (planned.tiles == GgufName::kColumns) TileColumns(module->k, &values);
      if (planned.rule == GgufName::kKeyRows || planned.rule == GgufName::kValueRows) TakeHeads(planned, *module, &values);
      NIBBLE_RETURN_IF_ERROR(put(planned.declaration.shape[planned.declaration.shape.rank() - 1], values));
      if (StopRequested()) return Fail(Code::kCancelled, "converting was stopped; nothing was written");
    }
    return {};
  }

  // Rows of keys of each head, transposed, or of its values, out of [heads * (plain + v), rank].
  static void TakeHeads(const Planned& planned, const SourceModule& module, std::vector<float>* values) {
    const Shape& shape = planned.declaration.shape;
    const int64_t heads = shape[0], rank = module.k, each = module.n / heads;
    std::vector<float> out;
    out.reserve(static_cast<size_t>(shape.elems()));
    for (int64_t head = 0; head < heads; ++head) {
      const float* rows = values->data() + head * each * rank;
      if (planned.rule == GgufName::kKeyRows) {
        for (int64_t j = 0; j < rank; ++j)
          for (int64_t i = 0; i < shape[2]; ++i) out.push_back(rows[i * rank + j]);
      } else {
        out.insert(out.end(), rows + (each - shape[1]) * rank, rows + each * rank);
      }
    }
    *values = std::move(out);
  }

  Status WriteAndCheck(const std::string& path) {
    std::vector<GgufDeclaration> declarations;
    for (const Planned& planned : planned_) declarations.push_back(planned.declaration);
    NIBBLE_TRY(GgufWriter writer, GgufWriter::Create(path, keys_, declarations));
    int64_t done = 0;
    for (const Planned& planned : planned_) {
      NIBBLE_RETURN_IF_ERROR(WriteTensor(planned, &writer));
      if (progress_) progress_->Update("converting", ++done, static_cast<int64_t>(planned_.size()));
    }
    NIBBLE_RETURN_IF_ERROR(writer.Commit());
    return Check(path);
  }

  Status Check(const std::string& path);

  Checkpoint& source_;
  const SourceModel& model_;
  const ConvertOptions& options_;
  Progress* const progress_;
  ThreadTeam team_;
  Graph graph_;
  const GgufArchitecture* architecture_ = nullptr;
  const TypeRow* type_ = nullptr;
  std::vector<Planned> planned_;
  std::map<std::string, SourceModule> modules_, fused_;       // by name of the graph
  std::map<std::string, std::vector<std::string>> parts_of_;  // a fused module's
  std::map<std::string, std::pair<int64_t, bool>> vectors_;   // size, and whether it is in the plan
  std::map<std::string, TensorView> biases_;
  std::set<std::string> taken_;
  std::map<const SourceModule*, LinearPart> parts_;
  GgufMetadataWriter keys_;
  WrittenSums sums_;
  ConvertReport report_;
};

Status Export::Metadata() {
  keys_.String("general.architecture", architecture_->name);
  keys_.String("general.type", "model");
  keys_.String("general.name", std::filesystem::path(source_.path()).filename().string());
  keys_.U32("general.file_type", type_->file_type);
  keys_.U32("general.quantization_version", 2);
  std::vector<GgufDivisors> divisors;
  NIBBLE_RETURN_IF_ERROR(WriteGgufKeys(*architecture_, model_.config, graph_, source_.path(), &keys_, &divisors));
  for (GgufDivisors& each : divisors) {
    Planned& planned = planned_.emplace_back();
    planned.declaration = {each.tensor, Shape{static_cast<int64_t>(each.values.size())}, kF32};
    planned.vector = std::move(each.values);
  }
  report_.tokenizer = false;
  if (!std::filesystem::is_directory(source_.path())) return {};
  NIBBLE_TRY(report_.tokenizer, WriteGgufTokenizer(source_.path(), model_.config.vocab, &keys_));
  return {};
}

namespace {

// "norm 1 2, wanted norm 1 3": the first lines that differ.
std::string FirstDifference(std::string_view found, std::string_view wanted) {
  const size_t at =
      static_cast<size_t>(std::mismatch(found.begin(), found.end(), wanted.begin(), wanted.end()).first - found.begin());
  const auto line = [&](std::string_view text) {
    const size_t begin = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;
    return text.substr(begin, text.find('\n', begin) - begin);
  };
  return fmt::format("the file says \"{}\", the model \"{}\"", line(found), line(wanted));
}

}  // namespace

Status Export::Check(const std::string& path) {
  NIBBLE_TRY(const GgufFile file, OpenGguf(path));
  for (const auto& entry : sums_.tensors()) {
    const StoredTensor* tensor = file.tensors.Find(entry.first);
    if (!tensor) return Fail(Code::kCheckFailed, "tensor \"{}\" is missing in the file that was just written", entry.first);
    NIBBLE_RETURN_IF_ERROR(sums_.Check(entry.first, {tensor->view.data, static_cast<size_t>(tensor->size_bytes)}));
  }
  NIBBLE_TRY(const auto written, Checkpoint::Open(path, CheckpointKind::kGguf));
  report_.bytes_after = written->tensors().total_bytes();
  NIBBLE_TRY(const ModelConfig config, ConfigOf(*written, {}));
  NIBBLE_TRY(const Graph graph, BuildGraph(config, 0, 1));
  if (GraphText(graph, false) != GraphText(graph_, false))
    return Unsupported(
        "{}: what GGUF calls {} computes something else than model_type \"{}\" with these settings ({}); written are {} and models "
        "with the same layers",
        source_.path(), architecture_->name, model_.config.model_type,
        FirstDifference(GraphText(graph, false), GraphText(graph_, false)), GgufArchitectureNames());
  if (GraphText(graph, true) != GraphText(graph_, true))
    Warn(
        "{}: its attention slides over a window; readers of GGUF's {} attend to all positions, which differs in texts longer than "
        "the window",
        source_.path(), architecture_->name);
  for (size_t r = 0; r < graph_.ropes.size(); ++r)
    for (size_t i = 0; i < graph_.ropes[r].inv_freq.size(); ++i)
      if (r >= graph.ropes.size() ||
          std::fabs(graph.ropes[r].inv_freq[i] - graph_.ropes[r].inv_freq[i]) > 1e-5f * graph_.ropes[r].inv_freq[i])
        return Fail(Code::kCheckFailed, "{}: the rope frequencies of the written file are others than the source's", path);
  for (const auto& [name, module] : modules_) {
    NIBBLE_TRY(const LinearPart* source, Bound(&module));
    std::vector<float> wanted(static_cast<size_t>(module.n * module.k));
    NIBBLE_RETURN_IF_ERROR(DecodeWhole(*source->weight, module.name, team_, wanted.data()));
    SourceModule asked = module;
    asked.query.transposed = false;
    const auto part = BindModule(*written, asked);
    if (!part) return tl::unexpected<Error>(Error(part.error()).In("the file that was just written"));
    const DecodedSummary summary = SummarizeDecoded(*part->weight, wanted.data(), team_);
    const double error = summary.norm2 > 0 ? std::sqrt(summary.error2 / summary.norm2) : 0;
    if (!(error <= type_->tolerance))
      return Fail(Code::kCheckFailed, "module \"{}\" of the file that was just written is off by {:.3g} of its size", module.name,
                  error);
    report_.mean_relative_error += error / static_cast<double>(modules_.size());
  }
  return {};
}

}  // namespace

Result<ConvertReport> ExportGguf(Checkpoint& source, const SourceModel& model, const std::string& out,
                                 const ConvertOptions& options, Progress* progress) {
  return Export(source, model, options, progress).Run(out);
}

}  // namespace nibble
