// SPDX-License-Identifier: Apache-2.0
#include "eval/inspect.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "io/safetensors_writer.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr const char* kKinds[] = {"linear", "embedding", "lm_head", "expert", "vector"};
constexpr int64_t kChunkValues = int64_t{1} << 20;  // decoded at a time

std::string MethodOf(const Checkpoint& checkpoint, const StoredWeight& weight) {
  const std::string name(checkpoint.quantization().name());
  return std::holds_alternative<Dense>(weight.body) && name != "gguf" ? "unquantized" : name;
}

InspectRow TensorRow(const StoredTensor& tensor, const char* kind) {
  InspectRow row{.name = tensor.name,
                 .kind = kind,
                 .method = "-",
                 .format = tensor.stored_type,
                 .shape = tensor.shape,
                 .bytes = tensor.size_bytes};
  std::transform(row.format.begin(), row.format.end(), row.format.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (tensor.shape.elems() > 0) row.bits = 8.0 * static_cast<double>(tensor.size_bytes) / static_cast<double>(tensor.shape.elems());
  return row;
}

class Inspector {
 public:
  Inspector(Checkpoint& checkpoint, const MatrixTable& table) : checkpoint_(checkpoint), table_(table) {}

  InspectReport Run() {
    report_.method = checkpoint_.quantization().Describe();
    if (const Json* type = JsonFind(checkpoint_.config(), "model_type"); type && type->is_string())
      report_.architecture = type->get<std::string>();
    report_.architecture_known = table_.architecture_known();
    for (const NamedMatrix& matrix : table_.all()) matrix.kind == NamedMatrix::kVector ? AddVector(matrix) : AddMatrix(matrix);
    for (const std::string& name : checkpoint_.Unclaimed())
      if (!seen_.count(name)) report_.rows.push_back(TensorRow(*checkpoint_.tensors().Find(name), "other"));
    AddFiles();
    report_.matrix_bits = weights_ > 0 ? bits_ / weights_ : 0;
    report_.linear_bits = linear_weights_ > 0 ? linear_bits_ / linear_weights_ : 0;
    return std::move(report_);
  }

 private:
  void AddVector(const NamedMatrix& matrix) {
    const StoredTensor* tensor = checkpoint_.tensors().Find(matrix.name);
    if (!tensor) {
      report_.rows.push_back({.name = matrix.name, .kind = "vector", .error = "not in the checkpoint"});
      return;
    }
    seen_.insert(tensor->name);
    report_.rows.push_back(TensorRow(*tensor, "vector"));
    report_.rows.back().method = checkpoint_.quantization().name() == "gguf" ? "gguf" : "unquantized";
    report_.parameters += tensor->shape.elems();
  }

  void AddMatrix(const NamedMatrix& matrix) {
    InspectRow row{.name = matrix.name, .kind = kKinds[matrix.kind], .tied_to = matrix.tied_to};
    const auto part = table_.Load(matrix);
    if (!part) {
      // Without an architecture a module is a guess: what no method reads is shown as it is stored.
      const bool guess =
          !table_.architecture_known() && (part.error().code == Code::kNotFound || part.error().code == Code::kUnsupported);
      row.error = part.error().ToString();
      if (!guess) report_.rows.push_back(std::move(row));
      return AddRaw(matrix.query.name);
    }
    const StoredWeight& w = *part->weight;
    row.method = MethodOf(checkpoint_, w);
    row.format = Describe(w);
    row.shape = {w.n, w.k};
    row.bits = BitsPerWeight(w);
    row.bytes = StoredBytes(w);
    if (matrix.tied_to.empty()) {
      const double bits = 8 * static_cast<double>(row.bytes), weights = static_cast<double>(w.n * w.k);
      report_.parameters += w.n * w.k;
      bits_ += bits;
      weights_ += weights;
      if (matrix.kind == NamedMatrix::kLinear || matrix.kind == NamedMatrix::kExpert) {
        linear_bits_ += bits;
        linear_weights_ += weights;
      }
    }
    report_.rows.push_back(std::move(row));
  }

  // The tensors of a module that no method reads.
  void AddRaw(const std::string& module) {
    if (module.empty() || table_.architecture_known()) return;
    if (by_module_.empty()) {
      for (const StoredTensor& tensor : checkpoint_.tensors().tensors())
        by_module_[tensor.name.substr(0, tensor.name.find_last_of('.'))].push_back(&tensor);
    }
    for (const StoredTensor* tensor : by_module_[module])
      if (seen_.insert(tensor->name).second) report_.rows.push_back(TensorRow(*tensor, "other"));
  }

  void AddFiles() {
    std::map<std::string, int64_t> files;
    for (const StoredTensor& tensor : checkpoint_.tensors().tensors())
      files[tensor.file] = tensor.keep ? tensor.keep->size_bytes() : 0;
    report_.files = static_cast<int>(files.size());
    for (const auto& [file, bytes] : files) report_.file_bytes += bytes;
    report_.tensor_bytes = checkpoint_.tensors().total_bytes();
  }

  Checkpoint& checkpoint_;
  const MatrixTable& table_;
  InspectReport report_;
  std::set<std::string> seen_;
  std::map<std::string, std::vector<const StoredTensor*>> by_module_;
  double bits_ = 0, weights_ = 0, linear_bits_ = 0, linear_weights_ = 0;
};

// Calls visit(values, count) for the decoded values of a matrix or vector, in row order, a chunk at a time.
template <typename Visit>
Status ForEachChunk(const MatrixTable& table, const NamedMatrix& matrix, const Visit& visit) {
  if (matrix.kind == NamedMatrix::kVector) {
    NIBBLE_TRY(const std::vector<float> values, table.LoadVector(matrix));
    return visit(values.data(), static_cast<int64_t>(values.size()));
  }
  NIBBLE_TRY(const LinearPart part, table.Load(matrix));
  const StoredWeight& w = *part.weight;
  const int64_t rows = std::clamp<int64_t>(kChunkValues / std::max<int64_t>(w.k, 1), 1, std::max<int64_t>(w.n, 1));
  std::vector<float> values(static_cast<size_t>(rows * w.k));
  for (int64_t n = 0; n < w.n; n += rows) {
    const Range range{n, std::min(n + rows, w.n)};
    DecodeRows(w, range, {0, w.k}, values.data());
    NIBBLE_RETURN_IF_ERROR(visit(values.data(), range.size() * w.k));
    if (StopRequested()) return Fail(Code::kCancelled, "reading \"{}\" was stopped", matrix.name);
  }
  return {};
}

Result<Shape> ShapeOf(const MatrixTable& table, const NamedMatrix& matrix) {
  if (matrix.kind == NamedMatrix::kVector) {
    NIBBLE_TRY(const std::vector<float> values, table.LoadVector(matrix));
    return Shape{static_cast<int64_t>(values.size())};
  }
  NIBBLE_TRY(const LinearPart part, table.Load(matrix));
  return Shape{part.weight->n, part.weight->k};
}

void VerifyMatrix(Checkpoint& checkpoint, const MatrixTable& table, const NamedMatrix& matrix, std::vector<Finding>* findings) {
  const auto part = table.Load(matrix);
  if (!part && !table.architecture_known() && (part.error().code == Code::kNotFound || part.error().code == Code::kUnsupported))
    return;  // a module was a guess; its float tensors are checked as such
  const Status status = part ? VerifyValues(*part->weight) : Status(tl::unexpected(part.error()));
  if (!status)
    findings->push_back(
        {status.error().code, part ? part->weight->origin.file : checkpoint.path(), matrix.name, status.error().ToString()});
}

void VerifyVector(Checkpoint& checkpoint, const MatrixTable& table, const NamedMatrix& matrix, std::vector<Finding>* findings) {
  const StoredTensor* tensor = checkpoint.tensors().Find(matrix.name);
  const std::string file = tensor ? tensor->file : checkpoint.path();
  const auto values = table.LoadVector(matrix);
  if (!values) return findings->push_back({values.error().code, file, matrix.name, values.error().ToString()});
  const auto bad = std::find_if(values->begin(), values->end(), [](float x) { return !std::isfinite(x); });
  if (bad == values->end()) return;
  findings->push_back({Code::kCorrupt, file, matrix.name,
                       fmt::format("corrupt: {}: {}: value {} is {}", file, matrix.name, bad - values->begin(), *bad)});
}

// A float tensor that belongs to no matrix. Others have no values that could be wrong by themselves.
Status VerifyFloats(const StoredTensor& tensor) {
  const DType dtype = tensor.view.dtype;
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) return {};
  if (!tensor.view.contiguous()) return {};
  for (int64_t i = 0; i < tensor.view.elems(); ++i) {
    const float x = LoadScalar(dtype, tensor.view.data, i);
    if (!std::isfinite(x)) return Corrupt("{}: {}: value {} is {}", tensor.file, tensor.name, i, x);
  }
  return {};
}

}  // namespace

InspectReport InspectCheckpoint(Checkpoint& checkpoint, const MatrixTable& table) {
  ExpectSparseReads(checkpoint);
  return Inspector(checkpoint, table).Run();
}

Result<MatrixStatistics> StatisticsOf(const MatrixTable& table, const std::string& name) {
  MatrixStatistics s;
  NIBBLE_TRY(const NamedMatrix matrix, table.Find(name));
  NIBBLE_TRY(const Shape shape, ShapeOf(table, matrix));
  s.name = matrix.name;
  s.n = shape[0];
  s.k = shape.rank() == 2 ? shape[1] : 1;
  s.format = "vector";
  if (matrix.kind != NamedMatrix::kVector) {
    NIBBLE_TRY(const LinearPart part, table.Load(matrix));
    s.format = Describe(*part.weight);
  }
  double sum = 0, squares = 0;
  s.min = INFINITY;
  s.max = -INFINITY;
  NIBBLE_RETURN_IF_ERROR(ForEachChunk(table, matrix, [&](const float* values, int64_t count) -> Status {
    for (int64_t i = 0; i < count; ++i) {
      const float x = values[i];
      if (!std::isfinite(x)) {
        ++s.not_finite;
        continue;
      }
      s.zeros += x == 0;
      s.min = std::min(s.min, x);
      s.max = std::max(s.max, x);
      sum += x;
      squares += static_cast<double>(x) * x;
    }
    return {};
  }));
  const auto finite = static_cast<double>(shape.elems() - s.not_finite);
  if (finite == 0) {
    s.min = s.max = 0;
    return s;
  }
  s.mean = sum / finite;
  s.std = std::sqrt(std::max(0.0, squares / finite - s.mean * s.mean));
  const double bins = static_cast<double>(s.histogram.size()), width = static_cast<double>(s.max) - s.min;
  NIBBLE_RETURN_IF_ERROR(ForEachChunk(table, matrix, [&](const float* values, int64_t count) -> Status {
    for (int64_t i = 0; i < count; ++i) {
      if (!std::isfinite(values[i])) continue;
      const double at = width > 0 ? (static_cast<double>(values[i]) - s.min) / width * bins : 0;
      ++s.histogram[std::min(s.histogram.size() - 1, static_cast<size_t>(at))];
    }
    return {};
  }));
  return s;
}

Status SaveDequantized(const MatrixTable& table, const std::vector<std::string>& names, const std::string& path,
                       Progress* progress) {
  std::vector<NamedMatrix> matrices;
  std::vector<SafetensorsDeclaration> declarations;
  for (const std::string& name : names) {
    if (std::count(names.begin(), names.end(), name) > 1) return Usage("\"{}\" is named twice", name);
    NIBBLE_TRY(matrices.emplace_back(), table.Find(name));
    NIBBLE_TRY(const Shape shape, ShapeOf(table, matrices.back()));
    declarations.push_back({name, DType::kF32, shape});
  }
  NIBBLE_TRY(auto writer, SafetensorsWriter::CreateFile(path, std::move(declarations)));
  for (size_t i = 0; i < names.size(); ++i) {
    NIBBLE_RETURN_IF_ERROR(ForEachChunk(table, matrices[i], [&](const float* values, int64_t count) {
      return writer.Write(names[i], std::as_bytes(std::span(values, static_cast<size_t>(count))));
    }));
    if (progress) progress->Update("decoding", static_cast<int64_t>(i) + 1, static_cast<int64_t>(names.size()));
  }
  return writer.Commit();
}

Result<std::vector<Finding>> VerifyCheckpoint(Checkpoint& checkpoint, const MatrixTable& table, Progress* progress) {
  std::vector<Finding> findings;
  const auto total = static_cast<int64_t>(table.all().size());
  int64_t done = 0;
  for (const NamedMatrix& matrix : table.all()) {
    if (StopRequested()) return Fail(Code::kCancelled, "verifying was stopped after {} of {} tensors", done, total);
    if (matrix.kind == NamedMatrix::kVector) {
      VerifyVector(checkpoint, table, matrix, &findings);
    } else if (matrix.tied_to.empty()) {
      VerifyMatrix(checkpoint, table, matrix, &findings);
    }
    if (progress) progress->Update("verifying", ++done, total);
    if (done % 64 == 0) checkpoint.ReleasePages();
  }
  for (const std::string& name : checkpoint.Unclaimed()) {
    const StoredTensor& tensor = *checkpoint.tensors().Find(name);
    if (Status status = VerifyFloats(tensor); !status)
      findings.push_back({status.error().code, tensor.file, name, status.error().ToString()});
  }
  return findings;
}

}  // namespace nibble
