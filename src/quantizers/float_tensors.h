// SPDX-License-Identifier: Apache-2.0
// The float tensors of a hub folder under construction: matrices decoded from whatever they were, biases, norms. Collected,
// declared, written in pieces, and compared with the file that was opened again.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors_writer.h"
#include "quantizers/source_model.h"

namespace nibble {

// What was written of each tensor, by pieces, so that a file can be compared without keeping its bytes.
class WrittenSums {
 public:
  void Add(const std::string& tensor, std::span<const std::byte> piece);
  // CheckFailed, naming the tensor, when it is missing, has another size or other bytes.
  Status Check(const std::string& tensor, std::span<const std::byte> bytes) const;
  const std::map<std::string, std::vector<std::pair<size_t, uint64_t>>>& tensors() const { return pieces_; }

 private:
  std::map<std::string, std::vector<std::pair<size_t, uint64_t>>> pieces_;
};

class FloatTensors {
 public:
  explicit FloatTensors(DType dtype) : dtype_(dtype) {}
  // "<name>.weight" and, where the part has one, "<name>.bias".
  void AddModule(const std::string& name, const LinearPart& part);
  void AddBias(const std::string& name, const LinearPart& part);
  Status AddVectors(Checkpoint& checkpoint, const std::vector<VectorSpec>& vectors);

  void Declare(std::vector<SafetensorsDeclaration>* declarations) const;
  // `step(elements)` is called after each tensor; an error of its own ends the work.
  Status Write(SafetensorsWriter* writer, ThreadTeam& team, const std::function<Status(int64_t)>& step);
  // Compares what was written with the folder.
  Status Check(const TensorIndex& written) const;
  int64_t elements() const;

 private:
  struct Matrix {
    std::string name;  // tensor
    std::shared_ptr<const StoredWeight> weight;
  };
  struct Vector {
    std::string name;
    std::vector<float> values;
  };
  Status WriteMatrix(const Matrix& matrix, SafetensorsWriter* writer, ThreadTeam& team);

  const DType dtype_;
  std::vector<Matrix> matrices_;
  std::vector<Vector> vectors_;
  WrittenSums sums_;
};

}  // namespace nibble
