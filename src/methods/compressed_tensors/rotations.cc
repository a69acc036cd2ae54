// SPDX-License-Identifier: Apache-2.0
#include "methods/compressed_tensors/rotations.h"

#include <bit>
#include <cmath>
#include <numeric>

#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr int64_t kLargestBase = 512;  // of base (x) Sylvester: wider bases gain nothing over the matrix as it is

// A square matrix in f32, permuted as the file asks.
struct Matrix {
  int64_t size = 0;
  std::shared_ptr<std::vector<float>> values;
  float operator()(int64_t i, int64_t j) const { return (*values)[static_cast<size_t>(i * size + j)]; }
};

Result<std::vector<int64_t>> ReadPermutation(const StoredTensor* perm, int64_t size) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  if (!perm) return order;
  if (perm->view.shape != Shape{size} || !perm->view.contiguous())
    return Corrupt("{}: tensor \"{}\" is {}, wanted [{}]", perm->file, perm->name, perm->view.shape.ToString(), size);
  for (int64_t i = 0; i < size; ++i) {
    const float index = LoadScalar(perm->view.dtype, perm->view.data, i);
    if (!(index >= 0 && index < static_cast<float>(size)))
      return Corrupt("{}: tensor \"{}\" holds {}, wanted indices below {}", perm->file, perm->name, index, size);
    order[static_cast<size_t>(i)] = static_cast<int64_t>(index);
  }
  return order;
}

Result<Matrix> ReadMatrix(const StoredTensor& tensor, const StoredTensor* perm, int64_t size) {
  if (!tensor.view.contiguous()) return Corrupt("{}: tensor \"{}\" is not contiguous", tensor.file, tensor.name);
  NIBBLE_TRY(const std::vector<int64_t> order, ReadPermutation(perm, size));
  Matrix matrix{size, std::make_shared<std::vector<float>>(static_cast<size_t>(size * size))};
  for (int64_t i = 0; i < size; ++i)
    for (int64_t j = 0; j < size; ++j)
      (*matrix.values)[static_cast<size_t>(i * size + j)] =
          LoadScalar(tensor.view.dtype, tensor.view.data, order[static_cast<size_t>(i)] * size + order[static_cast<size_t>(j)]);
  return matrix;
}

int64_t SylvesterSign(int64_t i, int64_t j) { return std::popcount(static_cast<uint64_t>(i & j)) % 2 == 0 ? 1 : -1; }

// Whether M = diag(signs) (base (x) Sylvester), base [m,m] and signs of +-1. Random Hadamard matrices are, with a small base, which
// turns size^2 products a row into size * (m + log2(size / m)) operations.
bool Factors(const Matrix& matrix, int64_t m, std::vector<float>& signs, std::vector<float>& base) {
  const int64_t power = matrix.size / m;
  signs.resize(static_cast<size_t>(matrix.size));
  base.resize(static_cast<size_t>(m * m));
  for (int64_t i = 0; i < matrix.size; ++i) {
    if (std::fabs(matrix(i, 0)) != 1) return false;
    signs[static_cast<size_t>(i)] = matrix(i, 0);
  }
  for (int64_t a = 0; a < m; ++a)
    for (int64_t b = 0; b < m; ++b)
      base[static_cast<size_t>(a * m + b)] = matrix(a * power, b * power) * signs[static_cast<size_t>(a * power)];
  for (int64_t i = 0; i < matrix.size; ++i)
    for (int64_t j = 0; j < matrix.size; ++j) {
      const float of_base = base[static_cast<size_t>(i / power * m + j / power)];
      if (matrix(i, j) != signs[static_cast<size_t>(i)] * of_base * static_cast<float>(SylvesterSign(i % power, j % power)))
        return false;
    }
  return true;
}

TensorView Floats(const std::shared_ptr<std::vector<float>>& values, Shape shape) {
  return TensorView(values->data(), DType::kF32, std::move(shape));
}

// x M, or x M^T. Kept transposed where it is not, so that products run along rows.
CtRotation FromAnyMatrix(const Matrix& matrix, bool transpose) {
  if (!transpose)
    for (int64_t i = 0; i < matrix.size; ++i)
      for (int64_t j = 0; j < i; ++j)
        std::swap((*matrix.values)[static_cast<size_t>(i * matrix.size + j)],
                  (*matrix.values)[static_cast<size_t>(j * matrix.size + i)]);
  return {.transform = {.kind = Transform::kMatrix,
                        .data = Floats(matrix.values, {matrix.size, matrix.size}),
                        .block = matrix.size,
                        .inverse = true},
          .keep = {matrix.values, nullptr}};
}

// A matrix of +-1, to be divided by sqrt(size).
CtRotation FromHadamard(const Matrix& matrix, bool inverse) {
  CtRotation rotation{.transform = {.kind = Transform::kHadamard, .block = matrix.size, .inverse = inverse}};
  auto signs = std::make_shared<std::vector<float>>(), base = std::make_shared<std::vector<float>>();
  const int64_t odd = matrix.size >> std::countr_zero(static_cast<uint64_t>(matrix.size));
  for (int64_t m = odd; m <= std::min(matrix.size, kLargestBase); m *= 2) {
    if (!Factors(matrix, m, *signs, *base)) continue;
    rotation.transform.data = Floats(signs, {matrix.size});
    rotation.keep[0] = signs;
    if (m > 1) {
      rotation.transform.data2 = Floats(base, {m, m});
      rotation.keep[1] = base;
    }
    return rotation;
  }
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(matrix.size)));
  for (float& value : *matrix.values) value *= scale;
  return FromAnyMatrix(matrix, inverse);
}

}  // namespace

std::string CtRotationSuffix(const CtTransform& transform, const char* what) {
  return fmt::format("{}_{}.{}", transform.name, transform.output ? "output" : "input", what);
}

CtRotations::CtRotations(const std::vector<CtTransform>& transforms, const TensorIndex* tensors) {
  if (!tensors) return;
  for (const CtTransform& transform : transforms) {
    const std::string part = "." + transform.name + "_";
    if (transform.kind == CtTransform::kSylvester || stored_.count(transform.name)) continue;
    for (const StoredTensor& tensor : tensors->tensors())
      if (tensor.name.find(part) != std::string::npos && (tensor.name.ends_with(".weight") || tensor.name.ends_with(".perm")))
        stored_[transform.name].push_back(tensor);
  }
}

Result<CtRotation> CtRotations::Make(const CtTransform& transform, const std::string& module, int64_t width) const {
  const int64_t size = transform.block > 0 ? transform.block : width;
  if (transform.kind == CtTransform::kSylvester)
    return CtRotation{.transform = {.kind = Transform::kHadamard, .block = transform.block, .inverse = transform.inverse}};
  return FromFile(transform, module, size);
}

Result<CtRotation> CtRotations::FromFile(const CtTransform& transform, const std::string& module, int64_t size) const {
  // The module's own, else the first of this size under the same place, else of the scheme: equal ones are stored once.
  const std::string suffix = CtRotationSuffix(transform), own = module + "." + suffix;
  const StoredTensor* best = nullptr;
  int best_rank = 0;
  if (const auto found = stored_.find(transform.name); found != stored_.end())
    for (const StoredTensor& tensor : found->second) {
      if (!tensor.name.ends_with(".weight") || tensor.view.shape != Shape{size, size}) continue;
      const int rank = tensor.name == own ? 3 : tensor.name.ends_with("." + suffix) ? 2 : 1;
      if (rank > best_rank) best = &tensor, best_rank = rank;
    }
  if (!best)
    return Corrupt("{}: transform \"{}\" needs a matrix [{},{}], but no module stores one as \"{}\"", module, transform.name, size,
                   size, suffix);
  const std::lock_guard lock(mutex_);
  const std::string key = best->name + (transform.inverse ? " inverse" : "");
  if (const auto made = made_.find(key); made != made_.end()) return made->second;
  const std::string perm_name = best->name.substr(0, best->name.size() - 6) + "perm";
  const StoredTensor* perm = nullptr;
  for (const StoredTensor& tensor : stored_.at(transform.name))
    if (transform.randomize && tensor.name == perm_name) perm = &tensor;
  if (transform.randomize && transform.kind == CtTransform::kHadamard && !perm)
    return Corrupt("{}: transform \"{}\" is randomized, but there is no \"{}\"", module, transform.name, perm_name);
  NIBBLE_TRY(const Matrix matrix, ReadMatrix(*best, perm, size));
  // Arbitrary matrices are stored as they are multiplied by, inverses too.
  const CtRotation rotation =
      transform.kind == CtTransform::kAnyMatrix ? FromAnyMatrix(matrix, false) : FromHadamard(matrix, transform.inverse);
  return made_.emplace(key, rotation).first->second;
}

}  // namespace nibble
