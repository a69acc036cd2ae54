// SPDX-License-Identifier: Apache-2.0
#include "quantizers/gguf_export.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/log.h"
#include "methods/gguf/architecture.h"
#include "methods/gguf/tensors.h"
#include "quantizers/float_tensors.h"
#include "quantizers/gguf_keys.h"
#include "quantizers/gguf_plan.h"
#include "quantizers/graph_text.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

struct TypeRow {
  const char* name;
  int64_t type;
  uint32_t file_type;  // general.file_type
  double tolerance;    // relative error of a matrix
};
constexpr TypeRow kTypes[] = {
    {"f32", kGgmlF32, 0, 0}, {"f16", kGgmlF16, 1, 0x1p-9}, {"bf16", kGgmlBF16, 32, 0x1p-7}, {"q8_0", kGgmlQ8, 7, 0.03}};

class Export {
 public:
  Export(Checkpoint& source, const SourceModel& model, const ConvertOptions& options, Progress* progress)
      : source_(source), model_(model), options_(options), progress_(progress), team_(options.threads) {}

  Result<ConvertReport> Run(const std::string& out) {
    NIBBLE_RETURN_IF_ERROR(CheckOutput(out));
    NIBBLE_TRY(graph_, BuildGraph(model_.config, 0, 1));
    NIBBLE_RETURN_IF_ERROR(ChooseType());
    plan_.emplace(source_, model_, graph_, type_->type);
    NIBBLE_RETURN_IF_ERROR(plan_->ChooseArchitecture());
    NIBBLE_RETURN_IF_ERROR(Metadata());
    const std::string temporary = out + ".partial";
    const Status status = WriteAndCheck(temporary);
    if (!status || std::rename(temporary.c_str(), out.c_str()) != 0) {
      const int failed = errno;
      std::remove(temporary.c_str());
      if (!status) return tl::unexpected<Error>(status.error());
      return IoError(failed, fmt::format("{}: cannot rename {} to it", out, temporary));
    }
    report_.tensors = static_cast<int64_t>(plan_->tensors().size());
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

  Status Metadata();

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
    if (type == kGgmlF16)
      for (const float value : values)
        if (std::fabs(value) >= 65520.0f && std::isfinite(value))
          return Usage("tensor \"{}\": {} does not fit into f16; give --dtype bf16 or f32", name, value);
    if (type != kGgmlQ8) {
      const DType dtype = type == kGgmlF32 ? DType::kF32 : type == kGgmlF16 ? DType::kF16 : DType::kBF16;
      std::vector<std::byte> bytes(values.size() * static_cast<size_t>(DTypeBytes(dtype)));
      ConvertFromF32(dtype, values.data(), static_cast<int64_t>(values.size()), bytes.data());
      return bytes;
    }
    const FormatId format = FindGgmlFormat(kGgmlQ8);
    if (!format || !format->encode) return Unsupported("this build does not encode q8_0");
    std::vector<std::byte> bytes(static_cast<size_t>(rows * format->row_bytes(k)));
    team_.Run([&](int worker) {
      const Range mine = SplitRange(rows, worker, team_.size());
      for (int64_t row = mine.begin; row < mine.end; ++row)
        format->encode(values.data() + row * k, k, bytes.data() + row * format->row_bytes(k));
    });
    return bytes;
  }

  Status WriteTensor(const PlannedTensor& planned, GgufWriter* writer) {
    const std::string& name = planned.declaration.name;
    const auto put = [&](int64_t k, const std::vector<float>& values) -> Status {
      NIBBLE_TRY(const std::vector<std::byte> bytes, Encode(name, planned.declaration.type, values, k));
      sums_.Add(name, bytes);
      return writer->Write(name, bytes);
    };
    if (planned.modules.empty()) return put(static_cast<int64_t>(planned.vector.size()), planned.vector);
    for (const SourceModule* module : planned.modules) {
      NIBBLE_TRY(const LinearPart* part, plan_->Bound(module));
      std::vector<float> values(static_cast<size_t>(module->n * module->k));
      NIBBLE_RETURN_IF_ERROR(DecodeWhole(*part->weight, module->name, team_, values.data()));
      if (planned.permuted_heads > 0) InterleaveForRope(planned.permuted_heads, module->n, module->k, &values);
      if (planned.tiles == GgufName::kRows && module == planned.modules.back()) TileRows(model_.config.json, module->n, &values);
      if (planned.tiles == GgufName::kColumns) TileColumns(module->k, &values);
      if (planned.rule == GgufName::kKeyRows || planned.rule == GgufName::kValueRows) TakeHeads(planned, *module, &values);
      NIBBLE_RETURN_IF_ERROR(put(planned.declaration.shape[planned.declaration.shape.rank() - 1], values));
      if (StopRequested()) return Fail(Code::kCancelled, "converting was stopped; nothing was written");
    }
    return {};
  }

  // Rows of keys of each head, transposed, or of its values, out of [heads * (plain + v), rank].
  static void TakeHeads(const PlannedTensor& planned, const SourceModule& module, std::vector<float>* values) {
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
    for (const PlannedTensor& planned : plan_->tensors()) declarations.push_back(planned.declaration);
    NIBBLE_TRY(GgufWriter writer, GgufWriter::Create(path, keys_, declarations));
    int64_t done = 0;
    for (const PlannedTensor& planned : plan_->tensors()) {
      NIBBLE_RETURN_IF_ERROR(WriteTensor(planned, &writer));
      if (progress_) progress_->Update("converting", ++done, static_cast<int64_t>(plan_->tensors().size()));
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
  const TypeRow* type_ = nullptr;
  std::optional<GgufPlan> plan_;
  GgufMetadataWriter keys_;
  WrittenSums sums_;
  ConvertReport report_;
};

Status Export::Metadata() {
  keys_.String("general.architecture", plan_->architecture().name);
  keys_.String("general.type", "model");
  keys_.String("general.name", std::filesystem::path(source_.path()).filename().string());
  keys_.U32("general.file_type", type_->file_type);
  keys_.U32("general.quantization_version", 2);
  for (const auto& [key, values] : plan_->layer_numbers()) keys_.F32s(key, values);
  std::vector<GgufDivisors> divisors;
  NIBBLE_RETURN_IF_ERROR(WriteGgufKeys(plan_->architecture(), model_.config, graph_, source_.path(), &keys_, &divisors));
  for (GgufDivisors& each : divisors) {
    PlannedTensor& planned = plan_->tensors().emplace_back();
    planned.declaration = {each.tensor, Shape{static_cast<int64_t>(each.values.size())}, kGgmlF32};
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
        source_.path(), plan_->architecture().name, model_.config.model_type,
        FirstDifference(GraphText(graph, false), GraphText(graph_, false)), GgufArchitectureNames());
  if (GraphText(graph, true) != GraphText(graph_, true))
    Warn(
        "{}: its attention slides over a window; readers of GGUF's {} attend to all positions, which differs in texts longer than "
        "the window",
        source_.path(), plan_->architecture().name);
  for (size_t r = 0; r < graph_.ropes.size(); ++r)
    for (size_t i = 0; i < graph_.ropes[r].inv_freq.size(); ++i)
      if (r >= graph.ropes.size() ||
          std::fabs(graph.ropes[r].inv_freq[i] - graph_.ropes[r].inv_freq[i]) > 1e-5f * graph_.ropes[r].inv_freq[i])
        return Fail(Code::kCheckFailed, "{}: the rope frequencies of the written file are others than the source's", path);
  for (const auto& [name, module] : plan_->modules()) {
    NIBBLE_TRY(const LinearPart* source, plan_->Bound(&module));
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
    report_.mean_relative_error += error / static_cast<double>(plan_->modules().size());
  }
  return {};
}

}  // namespace

Result<ConvertReport> ExportGguf(Checkpoint& source, const SourceModel& model, const std::string& out,
                                 const ConvertOptions& options, Progress* progress) {
  return Export(source, model, options, progress).Run(out);
}

}  // namespace nibble
