// SPDX-License-Identifier: Apache-2.0
#include "formats/transform.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "tensors/scalar.h"

namespace nibble {
namespace {

float At(const TensorView& view, int64_t i) { return LoadScalar(view.dtype, view.data, i * view.stride[0]); }
float At(const TensorView& view, int64_t i, int64_t j) {
  return LoadScalar(view.dtype, view.data, i * view.stride[0] + j * view.stride[1]);
}
int64_t Index(const TensorView& view, int64_t i) {
  int32_t value;
  std::memcpy(&value, view.data + i * view.stride[0] * 4, sizeof value);
  return value;
}
int64_t Index(const TensorView& view, int64_t i, int64_t j) { return Index(view.Select(0, i), j); }

int64_t BlockOf(const Transform& transform, int64_t width) { return transform.block == 0 ? width : transform.block; }

Status CheckVector(const TensorView& view, int64_t size, const char* what) {
  if (view.rank() == 1 && view.dim(0) == size) return {};
  return Corrupt("{} of a transform is {}, wanted [{}]", what, view.data ? view.shape.ToString() : "absent", size);
}

Status CheckIndices(const TensorView& view, int64_t width) {
  if (view.dtype != DType::kI32) return Corrupt("indices of a transform are {}, wanted i32", DTypeName(view.dtype));
  const TensorView flat = view.Reshape({view.elems()});
  for (int64_t i = 0; i < flat.dim(0); ++i) {
    const int64_t index = Index(flat, i);
    if (index < 0 || index >= width) return Corrupt("index {} of a transform is outside {} features", index, width);
  }
  return {};
}

Status CheckHadamard(const Transform& transform, int64_t width, int64_t block) {
  if (transform.data && transform.data.dim(0) != width && transform.data.dim(0) != block) {
    return Corrupt("signs of a Hadamard transform are {}, wanted [{}] or [{}]", transform.data.shape.ToString(), width, block);
  }
  const int64_t base = transform.data2 ? transform.data2.dim(0) : 1;
  if (transform.data2 && (transform.data2.rank() != 2 || transform.data2.dim(1) != base)) {
    return Corrupt("the base matrix of a Hadamard transform is {}, wanted a square", transform.data2.shape.ToString());
  }
  if (base > 0 && block % base == 0 && std::has_single_bit(static_cast<uint64_t>(block / base))) return {};
  return Unsupported(
      "Hadamard transform of size {}: known are powers of two, and base * 2^p with a stored base matrix (base here: {})", block,
      base);
}

Status CheckOne(const Transform& transform, int64_t width) {
  const int64_t block = BlockOf(transform, width);
  if (block <= 0 || width % block != 0) return Corrupt("blocks of {} do not divide {} features", block, width);
  switch (transform.kind) {
    case Transform::kScale: return CheckVector(transform.data, width, "scale");
    case Transform::kPermute:
      NIBBLE_RETURN_IF_ERROR(CheckVector(transform.data, width, "permutation"));
      return CheckIndices(transform.data, width);
    case Transform::kHadamard: return CheckHadamard(transform, width, block);
    case Transform::kGivens:
      if (transform.data2.rank() != 2 || transform.data2.dim(1) != 2 || transform.data.rank() != 1 ||
          transform.data.dim(0) != transform.data2.dim(0)) {
        return Corrupt("rotations need angles [p] and pairs [p,2], found {} and {}", transform.data.shape.ToString(),
                       transform.data2.shape.ToString());
      }
      return CheckIndices(transform.data2, width);
    case Transform::kMatrix:
      if (transform.data.shape == Shape{block, block}) return {};
      return Corrupt("matrix of a transform is {}, wanted [{},{}]", transform.data.shape.ToString(), block, block);
  }
  return {};
}

// In place, natural order, unnormalised; size is a power of two; elements lie `step` apart.
void WalshHadamard(float* x, int64_t size, int64_t step) {
  for (int64_t half = 1; half < size; half *= 2) {
    for (int64_t begin = 0; begin < size; begin += 2 * half) {
      for (int64_t i = begin; i < begin + half; ++i) {
        const float a = x[i * step], b = x[(i + half) * step];
        x[i * step] = a + b;
        x[(i + half) * step] = a - b;
      }
    }
  }
}

void MultiplyRow(const TensorView& matrix, bool transpose, const float* in, int64_t step, int64_t size, float* out) {
  if (transpose && matrix.dtype == DType::kF32 && matrix.contiguous()) {  // large ones come this way: no conversion, whole lines
    const auto* row = matrix.as<float>();
    for (int64_t j = 0; j < size; ++j, row += size) {
      double sum = 0;
      for (int64_t i = 0; i < size; ++i) sum += static_cast<double>(in[i * step]) * static_cast<double>(row[i]);
      out[j] = static_cast<float>(sum);
    }
    return;
  }
  for (int64_t j = 0; j < size; ++j) {
    double sum = 0;
    for (int64_t i = 0; i < size; ++i) sum += static_cast<double>(in[i * step]) * (transpose ? At(matrix, j, i) : At(matrix, i, j));
    out[j] = static_cast<float>(sum);
  }
}

void Hadamard(const Transform& transform, float* row, int64_t width, float* scratch) {
  const int64_t block = BlockOf(transform, width), base = transform.data2 ? transform.data2.dim(0) : 1, power = block / base;
  const float norm = static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
  const auto sign = [&](int64_t begin) {
    if (!transform.data) return;
    const bool whole = transform.data.dim(0) == width;
    for (int64_t i = 0; i < block; ++i) row[begin + i] *= At(transform.data, whole ? begin + i : i);
  };
  for (int64_t begin = 0; begin < width; begin += block) {
    float* x = row + begin;
    if (!transform.inverse) sign(begin);
    for (int64_t i = 0; i < base; ++i) WalshHadamard(x + i * power, power, 1);
    if (base > 1) {
      for (int64_t i = 0; i < power; ++i) {
        MultiplyRow(transform.data2, transform.inverse, x + i, power, base, scratch);
        for (int64_t j = 0; j < base; ++j) x[i + j * power] = scratch[j];
      }
    }
    for (int64_t i = 0; i < block; ++i) x[i] *= norm;
    if (transform.inverse) sign(begin);
  }
}

void Rotate(const Transform& transform, float* row) {
  const int64_t count = transform.data.dim(0);
  for (int64_t step = 0; step < count; ++step) {
    const int64_t p = transform.inverse ? count - 1 - step : step;
    const float angle = transform.inverse ? -At(transform.data, p) : At(transform.data, p), c = std::cos(angle),
                s = std::sin(angle);
    float& a = row[Index(transform.data2, p, 0)];
    float& b = row[Index(transform.data2, p, 1)];
    const float rotated = c * a - s * b;
    b = s * a + c * b;
    a = rotated;
  }
}

void ApplyOne(const Transform& transform, float* row, int64_t width, float* scratch) {
  const int64_t block = BlockOf(transform, width);
  switch (transform.kind) {
    case Transform::kScale:
      for (int64_t j = 0; j < width; ++j)
        row[j] = transform.inverse ? row[j] / At(transform.data, j) : row[j] * At(transform.data, j);
      break;
    case Transform::kPermute:
      std::copy_n(row, width, scratch);
      for (int64_t j = 0; j < width; ++j) {
        const int64_t source = Index(transform.data, j);
        if (transform.inverse)
          row[source] = scratch[j];
        else
          row[j] = scratch[source];
      }
      break;
    case Transform::kHadamard: Hadamard(transform, row, width, scratch); break;
    case Transform::kGivens: Rotate(transform, row); break;
    case Transform::kMatrix:
      for (int64_t begin = 0; begin < width; begin += block) {
        MultiplyRow(transform.data, transform.inverse, row + begin, 1, block, scratch);
        std::copy_n(scratch, block, row + begin);
      }
      break;
  }
}

}  // namespace

Status CheckTransforms(std::span<const Transform> transforms, int64_t width) {
  for (const Transform& transform : transforms) NIBBLE_RETURN_IF_ERROR(CheckOne(transform, width));
  return {};
}

Status ApplyTransforms(std::span<const Transform> transforms, float* row, int64_t width, float* scratch) {
  for (const Transform& transform : transforms) {
    if (transform.kind == Transform::kHadamard) NIBBLE_RETURN_IF_ERROR(CheckHadamard(transform, width, BlockOf(transform, width)));
    ApplyOne(transform, row, width, scratch);
  }
  return {};
}

}  // namespace nibble
