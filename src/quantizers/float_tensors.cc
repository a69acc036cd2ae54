// SPDX-License-Identifier: Apache-2.0
#include "quantizers/float_tensors.h"

#include <algorithm>
#include <cstring>

#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr int64_t kPieceElements = int64_t{4} << 20;

uint64_t HashBytes(std::span<const std::byte> bytes) {
  uint64_t hash = 0xcbf29ce484222325 ^ bytes.size();
  for (size_t i = 0; i < bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min<size_t>(8, bytes.size() - i));
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace

void WrittenSums::Add(const std::string& tensor, std::span<const std::byte> piece) {
  pieces_[tensor].emplace_back(piece.size(), HashBytes(piece));
}

Status WrittenSums::Check(const std::string& tensor, std::span<const std::byte> bytes) const {
  const auto found = pieces_.find(tensor);
  if (found == pieces_.end()) return Fail(Code::kCheckFailed, "tensor \"{}\" was never written", tensor);
  size_t at = 0;
  for (const auto& [size, hash] : found->second) {
    if (size > bytes.size() - at || HashBytes(bytes.subspan(at, size)) != hash)
      return Fail(Code::kCheckFailed, "tensor \"{}\": the file that was just written reads differently at byte {} of the tensor",
                  tensor, at);
    at += size;
  }
  if (at != bytes.size())
    return Fail(Code::kCheckFailed, "tensor \"{}\" has {} bytes in the file, {} were written", tensor, bytes.size(), at);
  return {};
}

void FloatTensors::AddModule(const std::string& name, const LinearPart& part) {
  matrices_.push_back({name + ".weight", part.weight});
  AddBias(name, part);
}

void FloatTensors::AddBias(const std::string& name, const LinearPart& part) {
  if (!part.bias) return;
  Vector bias{name + ".bias", std::vector<float>(static_cast<size_t>(part.bias.elems()))};
  for (size_t i = 0; i < bias.values.size(); ++i)  // those of interleaved experts are not in one piece
    bias.values[i] = LoadScalar(part.bias.dtype, part.bias.data, static_cast<int64_t>(i) * part.bias.stride[0]);
  vectors_.push_back(std::move(bias));
}

Status FloatTensors::AddVectors(Checkpoint& checkpoint, const std::vector<VectorSpec>& vectors) {
  for (const VectorSpec& spec : vectors) {
    NIBBLE_TRY(std::vector<float> values, checkpoint.Vector(spec.name, spec.size));
    vectors_.push_back({checkpoint.OnDisk(spec.name), std::move(values)});
  }
  return {};
}

void FloatTensors::Declare(std::vector<SafetensorsDeclaration>* declarations) const {
  for (const Matrix& matrix : matrices_) declarations->push_back({matrix.name, dtype_, Shape{matrix.weight->n, matrix.weight->k}});
  for (const Vector& vector : vectors_)
    declarations->push_back({vector.name, dtype_, Shape{static_cast<int64_t>(vector.values.size())}});
}

int64_t FloatTensors::elements() const {
  int64_t count = 0;
  for (const Matrix& matrix : matrices_) count += matrix.weight->n * matrix.weight->k;
  for (const Vector& vector : vectors_) count += static_cast<int64_t>(vector.values.size());
  return count;
}

Status FloatTensors::WriteMatrix(const Matrix& matrix, SafetensorsWriter* writer, ThreadTeam& team) {
  const int64_t n = matrix.weight->n, k = matrix.weight->k, rows = std::max<int64_t>(1, kPieceElements / k);
  if (!matrix.weight->in.empty() || !matrix.weight->out.empty() || matrix.weight->lora_a) {
    std::vector<float> whole(static_cast<size_t>(n * k));  // columns in another order; what is no matrix alone is refused
    NIBBLE_RETURN_IF_ERROR(DecodeWhole(*matrix.weight, matrix.name, team, whole.data()));
    std::vector<std::byte> bytes(whole.size() * static_cast<size_t>(DTypeBytes(dtype_)));
    ConvertFromF32(dtype_, whole.data(), n * k, bytes.data());
    NIBBLE_RETURN_IF_ERROR(writer->Write(matrix.name, bytes));
    sums_.Add(matrix.name, bytes);
    return {};
  }
  std::vector<float> values(static_cast<size_t>(std::min(rows, n) * k));
  std::vector<std::byte> stored(values.size() * static_cast<size_t>(DTypeBytes(dtype_)));
  for (int64_t begin = 0; begin < n; begin += rows) {
    const int64_t count = std::min(rows, n - begin);
    team.Run([&](int worker) {
      const Range mine = SplitRange(count, worker, team.size());
      if (mine.empty()) return;
      DecodeRows(*matrix.weight, {begin + mine.begin, begin + mine.end}, {0, k}, values.data() + mine.begin * k);
      ConvertFromF32(dtype_, values.data() + mine.begin * k, mine.size() * k, stored.data() + mine.begin * k * DTypeBytes(dtype_));
    });
    const std::span<const std::byte> piece = std::span(stored).first(static_cast<size_t>(count * k * DTypeBytes(dtype_)));
    NIBBLE_RETURN_IF_ERROR(writer->Write(matrix.name, piece));
    sums_.Add(matrix.name, piece);
  }
  return {};
}

Status FloatTensors::Write(SafetensorsWriter* writer, ThreadTeam& team, const std::function<Status(int64_t)>& step) {
  for (const Matrix& matrix : matrices_) {
    NIBBLE_RETURN_IF_ERROR(WriteMatrix(matrix, writer, team));
    NIBBLE_RETURN_IF_ERROR(step(matrix.weight->n * matrix.weight->k));
  }
  for (const Vector& vector : vectors_) {
    std::vector<std::byte> stored(vector.values.size() * static_cast<size_t>(DTypeBytes(dtype_)));
    ConvertFromF32(dtype_, vector.values.data(), static_cast<int64_t>(vector.values.size()), stored.data());
    NIBBLE_RETURN_IF_ERROR(writer->Write(vector.name, stored));
    sums_.Add(vector.name, stored);
    NIBBLE_RETURN_IF_ERROR(step(static_cast<int64_t>(vector.values.size())));
  }
  return {};
}

Status FloatTensors::Check(const TensorIndex& written) const {
  for (const auto& entry : sums_.tensors()) {
    const StoredTensor* tensor = written.Find(entry.first);
    if (!tensor) return Fail(Code::kCheckFailed, "tensor \"{}\" is missing in the file that was just written", entry.first);
    NIBBLE_RETURN_IF_ERROR(sums_.Check(entry.first, {tensor->view.data, static_cast<size_t>(tensor->size_bytes)}));
  }
  return {};
}

}  // namespace nibble
