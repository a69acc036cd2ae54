// SPDX-License-Identifier: Apache-2.0
#include "tensors/tensor_view.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "base/check.h"
#include "base/math.h"

namespace nibble {
namespace {
constexpr int64_t kPage = 4096, kHugePage = int64_t{2} << 20;
}  // namespace

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  NIBBLE_CHECK(rank_ <= kMaxRank, "rank {}", rank_);
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

int64_t Shape::elems() const {
  int64_t product = 1;
  for (int i = 0; i < rank_; ++i) product *= (*this)[i];
  return product;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(dims_.begin(), dims_.begin() + rank_, other.dims_.begin());
}

std::string Shape::ToString() const { return fmt::format("[{}]", fmt::join(dims_.begin(), dims_.begin() + rank_, ",")); }

TensorView::TensorView(const void* bytes, DType type, Shape dims)
    : data(static_cast<const std::byte*>(bytes)), dtype(type), shape(dims) {
  int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    stride[static_cast<size_t>(i)] = step;
    step *= shape[i];
  }
}

bool TensorView::contiguous() const {
  int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] != 1 && stride[static_cast<size_t>(i)] != step) return false;
    step *= shape[i];
  }
  return true;
}

TensorView TensorView::Slice(int axis, int64_t begin, int64_t size) const {
  NIBBLE_CHECK(axis < rank() && begin >= 0 && size >= 0 && begin + size <= dim(axis), "axis {} [{}, +{}) of {}", axis, begin, size,
               shape.ToString());
  TensorView view = *this;
  view.data += begin * stride[static_cast<size_t>(axis)] * DTypeBytes(dtype);
  view.shape[axis] = size;
  return view;
}

TensorView TensorView::Transpose(int axis_a, int axis_b) const {
  TensorView view = *this;
  std::swap(view.shape[axis_a], view.shape[axis_b]);
  std::swap(view.stride[static_cast<size_t>(axis_a)], view.stride[static_cast<size_t>(axis_b)]);
  return view;
}

TensorView TensorView::Select(int axis, int64_t index) const {
  const TensorView one = Slice(axis, index, 1);
  TensorView view = one;
  std::array<int64_t, Shape::kMaxRank> dims{};
  int rank_left = 0;
  for (int i = 0; i < rank(); ++i) {
    if (i == axis) continue;
    dims[static_cast<size_t>(rank_left)] = shape[i];
    view.stride[static_cast<size_t>(rank_left)] = stride[static_cast<size_t>(i)];
    ++rank_left;
  }
  view.shape = Shape(std::span<const int64_t>(dims.data(), static_cast<size_t>(rank_left)));
  return view;
}

TensorView TensorView::Reshape(Shape new_shape) const {
  NIBBLE_CHECK(contiguous() && new_shape.elems() == elems(), "{} as {}", shape.ToString(), new_shape.ToString());
  return TensorView(data, dtype, new_shape);
}

Buffer::Buffer(int64_t size_bytes) : size_bytes_(size_bytes) {
  if (size_bytes == 0) return;
  const bool huge = size_bytes >= kHugePage;
  const int64_t mapped = RoundUp(size_bytes, huge ? kHugePage : kPage);
  // Over-map so that a 2 MiB boundary lies inside, then trim both ends.
  const int64_t asked = huge ? mapped + kHugePage : mapped;
  void* p = mmap(nullptr, static_cast<size_t>(asked), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  auto* begin = static_cast<std::byte*>(p);
  if (huge) {
    auto* aligned = reinterpret_cast<std::byte*>(RoundUp(reinterpret_cast<int64_t>(begin), kHugePage));
    if (aligned != begin) munmap(begin, static_cast<size_t>(aligned - begin));
    const int64_t tail = (begin + asked) - (aligned + mapped);
    if (tail > 0) munmap(aligned + mapped, static_cast<size_t>(tail));
    begin = aligned;
    madvise(begin, static_cast<size_t>(mapped), MADV_HUGEPAGE);
  }
  data_ = std::unique_ptr<std::byte[], BufferUnmap>(begin, BufferUnmap{mapped});
}

void BufferUnmap::operator()(std::byte* p) const { munmap(p, static_cast<size_t>(size)); }

Tensor::Tensor(DType dtype, Shape shape) : bytes(std::make_shared<Buffer>(shape.elems() * DTypeBytes(dtype))) {
  view = TensorView(bytes->data(), dtype, shape);
}

}  // namespace nibble
