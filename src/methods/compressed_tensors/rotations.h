// SPDX-License-Identifier: Apache-2.0
// Online rotations of compressed-tensors: x M before the product or y M after it. Sylvester's matrix is made when it is applied;
// any other one is read from the file, which stores it once, under the first module that uses it, for all modules of that size.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "io/tensor_index.h"
#include "methods/compressed_tensors/config.h"

namespace nibble {

// A rotation ready for StoredWeight; `keep` owns what it points into, null if nothing.
struct CtRotation {
  Transform transform;
  std::shared_ptr<const void> keep[2];
};

// Thread-safe. Modules of one size share one matrix in memory, as they do in the file.
class CtRotations {
 public:
  // Remembers the stored matrices that `transforms` name; `tensors` may be null (plans made from settings alone).
  CtRotations(const std::vector<CtTransform>& transforms, const TensorIndex* tensors);

  // For a module with rows of `width` features on that side.
  Result<CtRotation> Make(const CtTransform& transform, const std::string& module, int64_t width) const;

 private:
  Result<CtRotation> FromFile(const CtTransform& transform, const std::string& module, int64_t size) const;

  std::map<std::string, std::vector<StoredTensor>> stored_;  // by scheme: "<module>.<scheme>_<location>.weight" and ".perm"
  mutable std::mutex mutex_;
  mutable std::map<std::string, CtRotation> made_;  // by name of the stored matrix and direction
};

// "R4_input.weight": what follows the module's name where its matrix is stored.
std::string CtRotationSuffix(const CtTransform& transform, const char* what = "weight");

}  // namespace nibble
