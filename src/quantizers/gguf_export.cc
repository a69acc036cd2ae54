// SPDX-License-Identifier: Apache-2.0
#include "quantizers/gguf_export.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>

#include "base/log.h"
#include "methods/gguf/names.h"
#include "quantizers/float_tensors.h"
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

// The row of a model type; for others that of plain decoders, whose names most have. Whether the model is one is checked on the
// result.
const GgufArchitecture* FindByModelType(const std::string& model_type, bool experts) {
  for (const char* name : {"llama", "qwen2", "qwen3", "qwen3moe"}) {
    const GgufArchitecture* row = FindGgufArchitecture(name, experts);
    if (row && row->model_type == model_type) return row;
  }
  return FindGgufArchitecture("llama", experts);
}

// One tensor of the file: matrices in order (several: the experts of a layer), or a vector.
struct Planned {
  GgufDeclaration declaration;
  std::vector<const SourceModule*> modules;
  std::vector<float> vector;
  int64_t permuted_heads = 0;  // > 0: rows of each head go into interleaved rope order
};

class Export {
 public:
  Export(Checkpoint& source, const SourceModel& model, const ConvertOptions& options, Progress* progress)
      : source_(source), model_(model), options_(options), progress_(progress), team_(options.threads) {}

  Result<ConvertReport> Run(const std::string& out) {
    NIBBLE_RETURN_IF_ERROR(CheckOutput(out));
    NIBBLE_TRY(graph_, BuildGraph(model_.config, 0, 1));
    architecture_ = FindByModelType(model_.config.model_type, !graph_.moes.empty());
    NIBBLE_RETURN_IF_ERROR(ChooseType());
    NIBBLE_RETURN_IF_ERROR(Plan());
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

  Status ChooseType() {
    const std::string name = options_.dtype.empty() ? DTypeName(model_.dtype) : options_.dtype;
    for (const TypeRow& row : kTypes)
      if (name == row.name) type_ = &row;
    if (!type_) return Usage("--dtype {}: a GGUF file can be written as f32, f16, bf16 or q8_0", name);
    return {};
  }

  // Hub tensor name -> GGUF's, for everything in the layers and around them.
  std::map<std::string, std::string> Names() const {
    std::map<std::string, std::string> names;
    const auto add = [&](const std::string& gguf) {
      if (const auto hub = HubTensorName(gguf, *architecture_)) names[*hub] = gguf;
    };
    for (const char* name : {"token_embd.weight", "output_norm.weight", "output.weight"}) add(name);
    for (int64_t layer = 0; layer < model_.config.layers; ++layer)
      for (const char* name : {"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up",
                               "ffn_down", "attn_q_norm", "attn_k_norm", "ffn_gate_inp"})
        for (const char* suffix : {"weight", "bias"}) add(fmt::format("blk.{}.{}.{}", layer, name, suffix));
    return names;
  }

  Status PlanVector(const std::map<std::string, std::string>& names, const std::string& name, std::vector<float> values) {
    const auto found = names.find(name);
    if (found == names.end())
      return Unsupported("{}: GGUF's {} has no tensor for \"{}\"", source_.path(), architecture_->name, name);
    if (architecture_->permuted && (found->second.ends_with("attn_q.bias") || found->second.ends_with("attn_k.bias")))
      return Unsupported("{}: \"{}\": biases of q and k are not written for GGUF's {}", source_.path(), name, architecture_->name);
    Planned& planned = planned_.emplace_back();
    planned.declaration = {found->second, Shape{static_cast<int64_t>(values.size())}, kF32};
    planned.vector = std::move(values);
    return {};
  }

  int64_t TypeFor(const SourceModule& module) const {
    if (module.role == ModuleRole::kRouter) return kF32;
    return type_->type == kQ8 && module.k % 32 != 0 ? kF16 : type_->type;
  }

  Status PlanMatrix(const std::map<std::string, std::string>& names, const SourceModule& module) {
    const auto found = names.find(module.name + ".weight");
    if (found == names.end())
      return Unsupported("{}: GGUF's {} has no tensor for \"{}\"", source_.path(), architecture_->name, module.name);
    Planned& planned = planned_.emplace_back();
    planned.declaration = {found->second, Shape{module.n, module.k}, TypeFor(module)};
    planned.modules = {&module};
    if (!architecture_->permuted) return {};
    if (found->second.ends_with("attn_q.weight")) planned.permuted_heads = model_.config.heads;
    if (found->second.ends_with("attn_k.weight")) planned.permuted_heads = model_.config.kv_heads;
    return {};
  }

  Status Plan() {
    const auto names = Names();
    std::map<std::string, Planned> experts;  // by GGUF name
    for (const SourceModule& module : model_.modules) {
      NIBBLE_TRY_IN(source_.path(), LinearPart part, BindModule(source_, module));
      if (part.bias) {
        std::vector<float> bias(static_cast<size_t>(part.bias.elems()));
        ConvertToF32(part.bias.dtype, part.bias.data, part.bias.elems(), bias.data());
        NIBBLE_RETURN_IF_ERROR(PlanVector(names, module.name + ".bias", std::move(bias)));
      }
      parts_[&module] = std::move(part);
      if (module.role != ModuleRole::kExpert) {
        NIBBLE_RETURN_IF_ERROR(PlanMatrix(names, module));
        continue;
      }
      static constexpr const char* kNames[] = {"gate", "up", "down"};
      const std::string layer = module.experts.substr(13, module.experts.find('.', 13) - 13);  // "model.layers.N."
      Planned& planned = experts[fmt::format("blk.{}.ffn_{}_exps.weight", layer, kNames[static_cast<int>(module.matrix)])];
      planned.modules.push_back(&module);
    }
    for (auto& [name, planned] : experts) {
      const SourceModule& first = *planned.modules[0];
      planned.declaration = {name, Shape{static_cast<int64_t>(planned.modules.size()), first.n, first.k}, TypeFor(first)};
      planned_.push_back(std::move(planned));
    }
    for (const VectorSpec& spec : model_.vectors) {
      NIBBLE_TRY(std::vector<float> values, source_.Vector(spec.name, spec.size));
      NIBBLE_RETURN_IF_ERROR(PlanVector(names, spec.name, std::move(values)));
    }
    return {};
  }

  Status Metadata();
  Status RopeKeys(const std::string& prefix);

  static void Permute(int64_t heads, int64_t n, int64_t k, std::vector<float>* values) {
    std::vector<float> out(values->size());
    const int64_t d = n / heads;
    for (int64_t row = 0; row < n; ++row) {
      const int64_t head = row / d, h = row % d / (d / 2), i = row % (d / 2);
      std::copy_n(values->data() + row * k, k, out.data() + (head * d + 2 * i + h) * k);
    }
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
      NIBBLE_RETURN_IF_ERROR(put(module->k, values));
      if (StopRequested()) return Fail(Code::kCancelled, "converting was stopped; nothing was written");
    }
    return {};
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
  std::map<const SourceModule*, LinearPart> parts_;
  GgufMetadataWriter keys_;
  WrittenSums sums_;
  ConvertReport report_;
};

// GGUF says frequencies as a base and a rule; the divisors of llama3 as a tensor.
Status Export::RopeKeys(const std::string& prefix) {
  const Json& config = model_.config.json;
  const Json* rope = JsonFind(config, "rope_parameters");
  if (!rope || !rope->is_object()) rope = JsonFind(config, "rope_scaling");
  const Json none = Json::object();
  if (!rope || !rope->is_object()) rope = &none;
  NIBBLE_TRY(const std::string old_type, JsonString(*rope, "type", "default"));
  NIBBLE_TRY(const std::string type, JsonString(*rope, "rope_type", old_type));
  if (graph_.ropes.empty()) return {};
  const RopeSpec& spec = graph_.ropes[0];
  const double theta = spec.theta;
  keys_.U32(prefix + "rope.dimension_count", static_cast<uint32_t>(spec.rotary_dims));
  keys_.F32(prefix + "rope.freq_base", static_cast<float>(theta));
  if (type == "default") return {};
  if (type == "llama3") {
    Planned& planned = planned_.emplace_back();
    planned.declaration = {"rope_freqs.weight", Shape{spec.rotary_dims / 2}, kF32};
    for (int64_t i = 0; i < spec.rotary_dims / 2; ++i)
      planned.vector.push_back(
          static_cast<float>(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(spec.rotary_dims)) /
                             spec.inv_freq[static_cast<size_t>(i)]));
  } else if (type != "linear" && type != "yarn") {
    return Unsupported("{}: rope type \"{}\" cannot be said in a GGUF file; written are default, linear, yarn, llama3",
                       source_.path(), type);
  } else {
    NIBBLE_TRY(const double factor, JsonNumber(*rope, "factor", 1.0));
    keys_.String(prefix + "rope.scaling.type", type);
    keys_.F32(prefix + "rope.scaling.factor", static_cast<float>(factor));
  }
  NIBBLE_TRY(const int64_t original, JsonInt(*rope, "original_max_position_embeddings", 0));
  if (original > 0) keys_.U32(prefix + "rope.scaling.original_context_length", static_cast<uint32_t>(original));
  for (const auto& [hub, gguf] :
       {std::pair("beta_fast", "rope.scaling.yarn_beta_fast"), std::pair("beta_slow", "rope.scaling.yarn_beta_slow")}) {
    NIBBLE_TRY(const double beta, JsonNumber(*rope, hub, 0.0));
    if (beta > 0) keys_.F32(prefix + gguf, static_cast<float>(beta));
  }
  return {};
}

Status Export::Metadata() {
  const ModelConfig& c = model_.config;
  const std::string prefix = std::string(architecture_->name) + ".";
  const auto u32 = [&](const char* key, int64_t value) { keys_.U32(prefix + key, static_cast<uint32_t>(value)); };
  keys_.String("general.architecture", architecture_->name);
  keys_.String("general.type", "model");
  keys_.String("general.name", std::filesystem::path(source_.path()).filename().string());
  keys_.U32("general.file_type", type_->file_type);
  keys_.U32("general.quantization_version", 2);
  u32("context_length", c.max_positions);
  u32("embedding_length", c.hidden);
  u32("block_count", c.layers);
  u32("feed_forward_length", c.inter);
  u32("attention.head_count", c.heads);
  u32("attention.head_count_kv", c.kv_heads);
  u32("attention.key_length", c.head_dim);
  u32("attention.value_length", c.head_dim);
  u32("vocab_size", c.vocab);
  keys_.F32(prefix + "attention.layer_norm_rms_epsilon", c.norm_eps);
  const Json* window = JsonFind(c.json, "sliding_window");
  if (window && window->is_number_integer()) u32("attention.sliding_window", window->get<int64_t>());
  if (!graph_.moes.empty()) {
    const MoeSpec& moe = graph_.moes[0];
    u32("expert_count", moe.experts);
    u32("expert_used_count", moe.top_k);
    u32("expert_feed_forward_length", moe.inter);
    if (architecture_->name == "qwen3moe") keys_.Bool(prefix + "expert_weights_norm", moe.renormalize);
  }
  NIBBLE_RETURN_IF_ERROR(RopeKeys(prefix));
  report_.tokenizer = false;
  if (!std::filesystem::is_directory(source_.path())) return {};
  NIBBLE_TRY(report_.tokenizer, WriteGgufTokenizer(source_.path(), c.vocab, &keys_));
  return {};
}

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
        "{}: what GGUF calls {} computes something else than model_type \"{}\"; written are {} and models with the same layers",
        source_.path(), architecture_->name, model_.config.model_type, GgufArchitectureNames());
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
  for (const SourceModule& module : model_.modules) {
    std::vector<float> wanted(static_cast<size_t>(module.n * module.k));
    NIBBLE_RETURN_IF_ERROR(DecodeWhole(*parts_[&module].weight, module.name, team_, wanted.data()));
    const auto part = BindModule(*written, module);
    if (!part) return tl::unexpected<Error>(Error(part.error()).In("the file that was just written"));
    const DecodedSummary summary = SummarizeDecoded(*part->weight, wanted.data(), team_);
    const double error = summary.norm2 > 0 ? std::sqrt(summary.error2 / summary.norm2) : 0;
    if (!(error <= type_->tolerance))
      return Fail(Code::kCheckFailed, "module \"{}\" of the file that was just written is off by {:.3g} of its size", module.name,
                  error);
    report_.mean_relative_error += error / static_cast<double>(model_.modules.size());
  }
  return {};
}

}  // namespace

Result<ConvertReport> ExportGguf(Checkpoint& source, const SourceModel& model, const std::string& out,
                                 const ConvertOptions& options, Progress* progress) {
  return Export(source, model, options, progress).Run(out);
}

}  // namespace nibble
