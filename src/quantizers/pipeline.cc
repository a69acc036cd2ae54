// SPDX-License-Identifier: Apache-2.0
#include "quantizers/pipeline.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>

#include "base/log.h"
#include "base/version.h"
#include "formats/packing/bit_stream.h"
#include "io/atomic_file.h"
#include "methods/compressed_tensors/writer.h"
#include "quantizers/config_file.h"
#include "quantizers/float_tensors.h"
#include "quantizers/output_folder.h"
#include "quantizers/quantize_plan.h"

namespace nibble {
namespace {

constexpr int64_t kReleaseElements = int64_t{64} << 20;  // read pages are given back after this many weights

class Pipeline {
 public:
  Pipeline(Checkpoint& source, const QuantizeOptions& options, Progress* progress)
      : source_(source), options_(options), progress_(progress), team_(options.threads) {}

  Result<QuantizeReport> Run(const std::string& out) {
    const auto begin = std::chrono::steady_clock::now();
    NIBBLE_TRY(model_, ReadSourceModel(source_));
    if (!source_.has_weights()) return Usage("{}: no weights here, only a config", source_.path());
    NIBBLE_TRY(plan_, PlanQuantization(model_, options_));
    quantizer_ = FindQuantizer(options_.quantizer);
    if (!quantizer_) return Usage("quantizer \"{}\" is unknown", options_.quantizer);
    NIBBLE_RETURN_IF_ERROR(Bind());
    NIBBLE_TRY(OutputFolder folder, OutputFolder::Create(out, options_.force, source_.path()));
    NIBBLE_RETURN_IF_ERROR(WriteWeights(folder.temporary()));
    NIBBLE_RETURN_IF_ERROR(WriteFiles(folder));
    NIBBLE_RETURN_IF_ERROR(Check(folder.temporary()));
    NIBBLE_RETURN_IF_ERROR(folder.Commit());
    report_.bytes_before = source_.tensors().total_bytes();
    report_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return std::move(report_);
  }

 private:
  // Views of everything. Of a float folder only what is quantized is bound; what is then unclaimed is copied as it is.
  Status Bind() {
    for (const PlannedModule& module : plan_.quantized) {
      NIBBLE_TRY_IN(source_.path(), LinearPart part, BindModule(source_, module.source));
      parts_.push_back(std::move(part));
      total_ += module.source.n * module.source.k;
    }
    floats_ = std::make_unique<FloatTensors>(model_.dtype);
    for (size_t i = 0; i < plan_.quantized.size(); ++i) floats_->AddBias(plan_.quantized[i].source.name, parts_[i]);
    if (model_.is_float) {
      total_ += floats_->elements();
      for (const std::string& name : source_.Unclaimed()) copied_.push_back(source_.tensors().Find(name));
      return {};
    }
    const auto quantized = [](const LinearPart& part) { return !std::holds_alternative<Dense>(part.weight->body); };
    if (std::any_of(parts_.begin(), parts_.end(), quantized))
      Warn("{}: this model is quantized already ({}); it is decoded first, and the errors of both add up", source_.path(),
           source_.quantization().Describe());
    for (const SourceModule& module : plan_.kept) {
      NIBBLE_TRY_IN(source_.path(), const LinearPart part, BindModule(source_, module));
      floats_->AddModule(module.name, part);
    }
    NIBBLE_RETURN_IF_ERROR(floats_->AddVectors(source_, model_.vectors));
    WarnOfDropped(source_);
    total_ += floats_->elements();
    return {};
  }

  DType ScaleType(size_t index) const {
    const auto* dense = std::get_if<Dense>(&parts_[index].weight->body);
    return dense && model_.is_float ? dense->w.dtype : model_.dtype;
  }

  // The tensors that WriteCtWeight will give for a module.
  void Declare(const PlannedModule& module, DType scale, std::vector<SafetensorsDeclaration>* out) const {
    const int64_t n = module.source.n, k = module.source.k;
    const WeightScheme& w = module.weights;
    const int64_t scale_rows = CeilDiv(n, w.SharedRows()), groups = CeilDiv(k, w.SharedColumns(k));
    const bool packed = !w.is_float && !(w.bits == 8 && options_.scheme.act.grain != ActivationSpec::kNone);
    const std::string name = module.source.name + ".";
    if (packed) {
      out->push_back({name + "weight_packed", DType::kI32, Shape{n, DenseStreamWords(k, w.bits)}});
      out->push_back({name + "weight_shape", DType::kI64, Shape{2}});
      if (!w.symmetric) out->push_back({name + "weight_zero_point", DType::kI32, Shape{DenseStreamWords(n, w.bits), groups}});
    } else {
      out->push_back({name + "weight", w.is_float ? DType::kE4M3 : DType::kI8, Shape{n, k}});
    }
    out->push_back({name + "weight_scale", scale, Shape{scale_rows, groups}});
  }

  Status WriteWeights(const std::string& folder) {
    std::vector<SafetensorsDeclaration> declarations;
    for (size_t i = 0; i < plan_.quantized.size(); ++i) Declare(plan_.quantized[i], ScaleType(i), &declarations);
    for (const StoredTensor* tensor : copied_) declarations.push_back({tensor->name, tensor->view.dtype, tensor->view.shape});
    floats_->Declare(&declarations);
    NIBBLE_TRY(auto writer,
               SafetensorsWriter::CreateFolder(folder, std::move(declarations), {.max_shard_bytes = options_.max_shard_bytes}));
    for (size_t i = 0; i < plan_.quantized.size(); ++i) NIBBLE_RETURN_IF_ERROR(QuantizeOne(i, &writer));
    for (const StoredTensor* tensor : copied_)
      NIBBLE_RETURN_IF_ERROR(writer.Write(tensor->name, {tensor->view.data, static_cast<size_t>(tensor->size_bytes)}));
    NIBBLE_RETURN_IF_ERROR(floats_->Write(&writer, team_, [&](int64_t elements) { return Step(elements); }));
    return writer.Commit();
  }

  Status QuantizeOne(size_t index, SafetensorsWriter* writer) {
    const PlannedModule& module = plan_.quantized[index];
    const int64_t n = module.source.n, k = module.source.k;
    std::vector<float> w(static_cast<size_t>(n * k));
    NIBBLE_RETURN_IF_ERROR(DecodeWhole(*parts_[index].weight, module.source.name, team_, w.data()));
    const RoundRequest request{.name = module.source.name,
                               .w = w.data(),
                               .n = n,
                               .k = k,
                               .scheme = module.weights,
                               .options = {.scale_search = options_.scale_search, .scale_dtype = ScaleType(index)},
                               .team = &team_};
    NIBBLE_TRY(const StoredWeight rounded, quantizer_->round(request));
    const DecodedSummary summary = SummarizeDecoded(rounded, w.data(), team_);
    hashes_.push_back(summary.hash);
    NIBBLE_TRY(const CtWritten written, WriteCtWeight(rounded, options_.scheme.act));
    for (const CtTensor& tensor : written.tensors)
      NIBBLE_RETURN_IF_ERROR(writer->Write(fmt::format("{}.{}", module.source.name, tensor.suffix),
                                           {tensor.tensor.bytes->data(), static_cast<size_t>(tensor.tensor.view.size_bytes())}));
    groups_[written.group.dump()].push_back(module.source.name);
    report_.modules.push_back({.name = module.source.name,
                               .n = n,
                               .k = k,
                               .stored_bytes = StoredBytes(rounded),
                               .relative_error = summary.norm2 > 0 ? std::sqrt(summary.error2 / summary.norm2) : 0,
                               .stored = Describe(rounded)});
    return Step(n * k);
  }

  Status Step(int64_t elements) {
    done_ += elements;
    since_release_ += elements;
    if (since_release_ > kReleaseElements) source_.ReleasePages(), since_release_ = 0;
    if (progress_) progress_->Update("quantizing", done_, total_);
    if (StopRequested()) return Fail(Code::kCancelled, "quantizing was stopped; nothing was written");
    return {};
  }

  // The config group of most modules takes the class "Linear"; modules that differ are named.
  Json QuantizationJson() const {
    std::vector<std::pair<Json, std::vector<std::string>>> groups;
    size_t most = 0;
    for (const auto& [group, names] : groups_) most = std::max(most, names.size());
    bool class_given = false;
    for (const auto& [group, names] : groups_) {
      const bool by_class = !class_given && names.size() == most;
      class_given |= by_class;
      groups.emplace_back(Json::parse(group), by_class ? std::vector<std::string>{"Linear"} : names);
    }
    return MakeCtConfig(groups, plan_.ignore);
  }

  Status WriteFiles(const OutputFolder& folder) {
    NIBBLE_RETURN_IF_ERROR(WriteConfigFile(source_, model_.dtype, QuantizationJson(), folder.File("config.json")));
    Summarize();
    const OrderedJson record = {{"tool", {{"name", "nibble"}, {"version", kVersion}}},
                                {"source", options_.source_name},
                                {"source_method", source_.quantization().Describe()},
                                {"scheme", options_.scheme.name},
                                {"weights", DescribeScheme(options_.scheme)},
                                {"quantizer", quantizer_->name},
                                {"scale_search", options_.scale_search},
                                {"ignore", options_.ignore},
                                {"modules", report_.modules.size()},
                                {"mean_relative_error", report_.mean_relative_error},
                                {"bits_per_weight", report_.bits_per_weight}};
    NIBBLE_RETURN_IF_ERROR(WriteFileAtomically(folder.File("nibble_quantization.json"), record.dump(2) + "\n"));
    return CopyHubFiles(source_, folder);
  }

  void Summarize() {
    int64_t bytes = 0, weights = 0;
    for (const QuantizedModule& module : report_.modules) {
      report_.mean_relative_error += module.relative_error / static_cast<double>(report_.modules.size());
      bytes += module.stored_bytes;
      weights += module.n * module.k;
    }
    report_.bits_per_weight = 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
    report_.left_alone = static_cast<int64_t>(plan_.kept.size());
  }

  // Reads the folder as any reader would.
  Status Check(const std::string& folder) {
    NIBBLE_TRY(const auto written, Checkpoint::Open(folder, CheckpointKind::kHubFolder));
    NIBBLE_TRY(const Architecture* architecture, FindArchitecture(model_.config.model_type));
    UseNamesOf(*architecture, *written);
    report_.bytes_after = written->tensors().total_bytes();
    for (size_t i = 0; i < plan_.quantized.size(); ++i) {
      SourceModule module = plan_.quantized[i].source;
      const auto fail = [&](const std::string& why) {
        return Fail(Code::kCheckFailed, "module \"{}\" of the model that was just written: {}", module.name, why);
      };
      module.query.bias = false;
      const auto part =
          module.role == ModuleRole::kExpert
              ? written->Expert({module.experts, module.other_experts, module.expert, module.matrix, module.n, module.k})
              : written->Linear(module.query);
      if (!part) return fail(part.error().ToString());
      if (SummarizeDecoded(*part->weight, nullptr, team_).hash != hashes_[i])
        return fail("it decodes to other values than were computed");
      if (part->act != options_.scheme.act) return fail("it asks for other activations than the scheme");
      if (progress_) progress_->Update("checking", static_cast<int64_t>(i) + 1, static_cast<int64_t>(plan_.quantized.size()));
      if (StopRequested()) return Fail(Code::kCancelled, "checking was stopped; nothing was written");
    }
    for (const StoredTensor* tensor : copied_) {
      const StoredTensor* copy = written->tensors().Find(tensor->name);
      if (!copy || copy->size_bytes != tensor->size_bytes ||
          std::memcmp(copy->view.data, tensor->view.data, static_cast<size_t>(tensor->size_bytes)) != 0)
        return Fail(Code::kCheckFailed, "tensor \"{}\" of the model that was just written differs from the source", tensor->name);
    }
    return floats_->Check(written->tensors());
  }

  Checkpoint& source_;
  const QuantizeOptions& options_;
  Progress* const progress_;
  ThreadTeam team_;
  SourceModel model_;
  QuantizePlan plan_;
  const Quantizer* quantizer_ = nullptr;
  std::vector<LinearPart> parts_;  // of plan_.quantized
  std::vector<uint64_t> hashes_;   // of plan_.quantized
  std::vector<const StoredTensor*> copied_;
  std::unique_ptr<FloatTensors> floats_;
  std::map<std::string, std::vector<std::string>> groups_;  // config group -> modules
  QuantizeReport report_;
  int64_t done_ = 0, total_ = 0, since_release_ = 0;
};

}  // namespace

Result<QuantizeReport> QuantizeModel(Checkpoint& source, const std::string& out, const QuantizeOptions& options,
                                     Progress* progress) {
  if (options.threads < 1) return Usage("{} threads: wanted at least 1", options.threads);
  return Pipeline(source, options, progress).Run(out);
}

}  // namespace nibble
