// SPDX-License-Identifier: Apache-2.0
#include "quantizers/convert.h"

#include <chrono>
#include <filesystem>

#include "quantizers/config_file.h"
#include "quantizers/float_tensors.h"
#include "quantizers/gguf_export.h"

namespace nibble {
namespace {

// Mixtral's own names; its float checkpoints have no others.
std::string FloatName(const SourceModule& module) {
  static constexpr const char* kNames[] = {"w1", "w3", "w2"};
  const size_t at = module.name.find(".block_sparse_moe.experts.");
  if (module.role != ModuleRole::kExpert || at == std::string::npos) return module.name;
  return module.name.substr(0, module.name.rfind('.') + 1) + kNames[static_cast<int>(module.matrix)];
}

// Products whose hub files hold the matrix as [k, n] (GPT-2).
Result<LinearPart> Transposed(const SourceModule& module, const LinearPart& part, ThreadTeam& team) {
  Tensor whole(DType::kF32, {module.n, module.k}), turned(DType::kF32, {module.k, module.n});
  NIBBLE_RETURN_IF_ERROR(DecodeWhole(*part.weight, module.name, team, whole.as<float>()));
  for (int64_t i = 0; i < module.n; ++i)
    for (int64_t j = 0; j < module.k; ++j) turned.as<float>()[j * module.n + i] = whole.as<float>()[i * module.k + j];
  LinearPart out = part;
  out.weight = std::make_shared<StoredWeight>(MakeDense(turned.view, part.weight->origin, turned.bytes));
  return out;
}

Result<DType> FloatType(const SourceModel& model, const std::string& name) {
  if (name.empty()) return model.dtype;
  const auto dtype = ParseDType(name);
  if (dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16) return *dtype;
  return Usage("--dtype {}: a hub folder of floats is f32, f16 or bf16", name);
}

Result<ConvertReport> ToFolder(Checkpoint& source, const SourceModel& model, const std::string& out, const ConvertOptions& options,
                               Progress* progress) {
  ConvertReport report;
  NIBBLE_TRY(const DType dtype, FloatType(model, options.dtype));
  report.dtype = DTypeName(dtype);
  ThreadTeam team(options.threads);
  FloatTensors tensors(dtype);
  for (const SourceModule& module : model.modules) {
    NIBBLE_TRY_IN(source.path(), const LinearPart part, BindModule(source, module));
    if (!module.query.transposed) {
      tensors.AddModule(FloatName(module), part);
      continue;
    }
    NIBBLE_TRY(const LinearPart as_stored, Transposed(module, part, team));
    tensors.AddModule(FloatName(module), as_stored);
  }
  NIBBLE_RETURN_IF_ERROR(tensors.AddVectors(source, model.vectors));
  WarnOfDropped(source);
  NIBBLE_TRY(OutputFolder folder, OutputFolder::Create(out, options.force, source.path()));
  std::vector<SafetensorsDeclaration> declarations;
  tensors.Declare(&declarations);
  report.tensors = static_cast<int64_t>(declarations.size());
  NIBBLE_TRY(auto writer, SafetensorsWriter::CreateFolder(folder.temporary(), std::move(declarations),
                                                          {.max_shard_bytes = options.max_shard_bytes}));
  int64_t done = 0;
  NIBBLE_RETURN_IF_ERROR(tensors.Write(&writer, team, [&](int64_t elements) -> Status {
    done += elements;
    if (progress) progress->Update("converting", done, tensors.elements());
    if (StopRequested()) return Fail(Code::kCancelled, "converting was stopped; nothing was written");
    return {};
  }));
  NIBBLE_RETURN_IF_ERROR(writer.Commit());
  NIBBLE_RETURN_IF_ERROR(WriteConfigFile(source, dtype, Json(), folder.File("config.json")));
  NIBBLE_RETURN_IF_ERROR(CopyHubFiles(source, folder));
  report.tokenizer = std::filesystem::exists(folder.File("tokenizer.json"));
  NIBBLE_TRY(const auto written, Checkpoint::Open(folder.temporary(), CheckpointKind::kHubFolder));
  NIBBLE_RETURN_IF_ERROR(tensors.Check(written->tensors()));
  report.bytes_after = written->tensors().total_bytes();
  NIBBLE_RETURN_IF_ERROR(folder.Commit());
  return report;
}

}  // namespace

Result<ConvertReport> ConvertModel(Checkpoint& source, const std::string& out, const ConvertOptions& options, Progress* progress) {
  const auto begin = std::chrono::steady_clock::now();
  if (!source.has_weights()) return Usage("{}: no weights here, only a config", source.path());
  NIBBLE_TRY(const SourceModel model, ReadSourceModel(source));
  Result<ConvertReport> report = options.target == ConvertOptions::kGguf ? ExportGguf(source, model, out, options, progress)
                                                                         : ToFolder(source, model, out, options, progress);
  if (!report) return report;
  report->bytes_before = source.tensors().total_bytes();
  report->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

}  // namespace nibble
