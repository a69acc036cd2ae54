// SPDX-License-Identifier: Apache-2.0
// Shape and a strided view of bytes that somebody else owns (a mapped file, a Buffer).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "tensors/dtype.h"

namespace nibble {

// Up to 8 dimensions, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 8;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);  // dims.size() <= kMaxRank

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t& operator[](int i) { return dims_[static_cast<size_t>(i)]; }
  // Product of the dimensions; 1 for rank 0. Files are checked for overflow where they are read.
  int64_t elems() const;
  bool operator==(const Shape& other) const;
  std::string ToString() const;  // "[512,4096]"

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

// A view: element (i0,i1,...) lies at data + (i0*stride[0] + i1*stride[1] + ...) * DTypeBytes(dtype). Owns nothing.
struct TensorView {
  const std::byte* data = nullptr;
  DType dtype = DType::kNone;
  Shape shape;
  std::array<int64_t, Shape::kMaxRank> stride{};  // in elements

  TensorView() = default;
  // Contiguous, row-major.
  TensorView(const void* data, DType dtype, Shape shape);

  explicit operator bool() const { return data != nullptr; }
  int rank() const { return shape.rank(); }
  int64_t dim(int i) const { return shape[i]; }
  bool contiguous() const;
  int64_t elems() const { return shape.elems(); }
  int64_t size_bytes() const { return elems() * DTypeBytes(dtype); }  // of the elements, not of the span they cover
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data);
  }  // contiguous data only; may be unaligned in a file

  TensorView Slice(int axis, int64_t begin, int64_t size) const;  // the caller keeps begin + size inside
  TensorView Transpose(int axis_a, int axis_b) const;
  TensorView Select(int axis, int64_t index) const;  // drops the axis
  // Another shape over the same contiguous elements; elems() must agree.
  TensorView Reshape(Shape shape) const;
};

struct BufferUnmap {
  int64_t size = 0;
  void operator()(std::byte* p) const;
};

// Owned bytes, 64-byte aligned (2 MiB aligned and marked for huge pages from 2 MiB on). Contents are zero.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t size_bytes);
  Buffer(Buffer&&) = default;
  Buffer& operator=(Buffer&&) = default;

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  int64_t size_bytes() const { return size_bytes_; }

 private:
  std::unique_ptr<std::byte[], BufferUnmap> data_;
  int64_t size_bytes_ = 0;
};

// Tensor that owns its elements through shared bytes.
struct Tensor {
  TensorView view;
  std::shared_ptr<Buffer> bytes;

  Tensor() = default;
  Tensor(DType dtype, Shape shape);  // zeros
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(bytes->data());
  }
};

}  // namespace nibble
