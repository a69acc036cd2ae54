// SPDX-License-Identifier: Apache-2.0
// Nothing is read or written before the first or past the last byte that a kernel or a packer was given: stored weights, packed
// strips, x and y lie against a page that may not be touched, at addresses that no vector load would like.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "base/check.h"
#include "kernels/random_weights.h"
#include "kernels/x_codes.h"

namespace nibble {
namespace {

// `size` bytes with a forbidden page directly behind them (at_end) or before them.
class Guarded {
 public:
  Guarded(size_t size, bool at_end) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t body = (size + page - 1) / page * page;
    mapped_ = body + 2 * page;
    base_ = static_cast<std::byte*>(mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    NIBBLE_CHECK(base_ != MAP_FAILED, "mmap of {}", mapped_);
    NIBBLE_CHECK(mprotect(base_, page, PROT_NONE) == 0 && mprotect(base_ + page + body, page, PROT_NONE) == 0, "mprotect");
    data_ = base_ + page + (at_end ? body - size : 0);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(base_, mapped_); }
  std::byte* data() const { return data_; }

 private:
  std::byte *base_, *data_;
  size_t mapped_;
};

std::shared_ptr<Guarded> Copy(const void* from, size_t size, bool at_end) {
  auto copy = std::make_shared<Guarded>(size, at_end);
  std::memcpy(copy->data(), from, size);
  return copy;
}

// Where a weight's bytes lie in the file: moved against the guard.
void GuardTensor(TensorView* view, size_t size, bool at_end, std::vector<std::shared_ptr<const void>>* keep) {
  const auto copy = Copy(view->data, size, at_end);
  view->data = copy->data();
  keep->push_back(copy);
}

std::vector<float> MultiplyGuarded(const PackedWeight& packed, const std::vector<float>& x, int64_t m, bool at_end) {
  const int64_t k = packed.k, n = packed.n;
  const PackedWeight::Input& input = packed.inputs[0];
  std::vector<std::byte> codes, scratch;
  const void* bytes = x.data();
  size_t size = static_cast<size_t>(m * k) * sizeof(float);
  if (input.form != XForm::kF32) {
    codes.resize(static_cast<size_t>(m * CeilDiv(k, kXStep) * XRecordBytes(input.form)));
    for (int64_t row = 0; row < m; ++row) WriteXCodes(input.form, input.act, x.data() + row * k, k, row, m, codes.data(), &scratch);
    bytes = codes.data();
    size = codes.size();
  }
  const auto guarded_x = Copy(bytes, size, at_end);
  const Guarded y(static_cast<size_t>(m * n) * sizeof(float), at_end);
  const LinearArgs args{reinterpret_cast<const float*>(guarded_x->data()), k, reinterpret_cast<float*>(y.data()), n, m};
  const Guarded work(kLinearScratchBytes, at_end);
  RunLinear(packed, {&args, 1}, 0, 1, work.data());
  const auto* result = reinterpret_cast<const float*>(y.data());
  return {result, result + m * n};
}

void CheckGuarded(StoredWeight w, const std::string& name, std::mt19937* rng) {
  ThreadTeam team(1);
  for (const bool at_end : {true, false}) {
    if (auto* blocked = std::get_if<Blocked>(&w.body)) {
      const auto size = static_cast<size_t>(w.n * blocked->blocks.stride[0]);
      GuardTensor(&blocked->blocks, size, at_end, &w.keep);
    } else if (auto* dense = std::get_if<Dense>(&w.body)) {
      GuardTensor(&dense->w, static_cast<size_t>(w.n * w.k * DTypeBytes(dense->w.dtype)), at_end, &w.keep);
    }
    for (const Isa isa : IsasHere())
      for (const ActivationPolicy policy : {ActivationPolicy::kF32, ActivationPolicy::kInt16, ActivationPolicy::kInt8}) {
        const LinearPart part{.weight = std::make_shared<StoredWeight>(w)};
        auto packed = PrepareLinear({.parts = {part}, .k = w.k, .policy = policy}, {isa}, team);
        ASSERT_TRUE(packed.has_value()) << packed.error().ToString();
        const PackedWeight before = *packed;
        std::vector<std::shared_ptr<Guarded>> strips;
        for (Segment& segment : packed->segments) {
          const int64_t bytes = segment.layout->packed_bytes(*segment.weight);
          if (bytes == 0) continue;
          strips.push_back(Copy(segment.data, static_cast<size_t>(bytes), at_end));
          segment.data = strips.back()->data();
        }
        for (const int64_t m : {1, 2, 7}) {
          const auto x = RandomX(m, w.k, rng);
          EXPECT_EQ(MultiplyGuarded(*packed, x, m, at_end), MultiplyGuarded(before, x, m, at_end))
              << name << " " << packed->segments[0].by_m[0]->name << " m " << m;
        }
      }
  }
}

TEST(GuardPages, BlocksOfEveryFormat) {
  std::mt19937 rng(5);
  for (const FormatId format : Formats())
    if (format->is_blocked())
      CheckGuarded(MakeBlocked(format, 67, std::max(96, 2 * format->block_elems), &rng), std::string(format->name), &rng);
}

TEST(GuardPages, CodesAndFloats) {
  std::mt19937 rng(6);
  Owned owned;
  for (const int64_t k : {65, 100, 257})
    for (const Case& c : {Case{.name = "int2", .bits = 2, .group = 16, .zero = true}, Case{.name = "int3", .bits = 3, .group = 32},
                          Case{.name = "int4", .bits = 4, .group = 32, .zero = true}, Case{.name = "int5", .bits = 5},
                          Case{.name = "int6", .bits = 6, .group = 32}, Case{.name = "int8", .bits = 8, .group = 128},
                          Case{.name = "fp8", .bits = 8, .rule = ValueRule::kFloat, .float_type = DType::kE4M3},
                          Case{.name = "nf4", .bits = 4, .rule = ValueRule::kTable, .group = 64}})
      CheckGuarded(MakeCoded(c, 67, k, &owned, &rng), c.name + " k " + std::to_string(k), &rng);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const TensorView values = owned.Make(dtype, {67, 77}, [&](int64_t i) { return std::sin(static_cast<float>(i)); });
    CheckGuarded(MakeDense(values, {}, owned.bytes.back()), DTypeName(dtype), &rng);
  }
}

}  // namespace
}  // namespace nibble
