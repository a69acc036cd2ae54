// SPDX-License-Identifier: Apache-2.0
// DecodeRows(Slice(w)) is the rectangle of DecodeRows(w), bit for bit, for every body, every kind of plane and random rectangles,
// also for slices of slices.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>

#include "formats/packing/bit_stream.h"
#include "formats/packing/bytes.h"
#include "formats/stored_weight.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

constexpr int64_t kSliceN = 48, kSliceK = 160;

std::mt19937& SliceRandom() {
  static std::mt19937 random(11);
  return random;
}
float Number() { return static_cast<float>(static_cast<int>(SliceRandom()() % 4001) - 2000) / 1024.0f; }
Range RandomRange(int64_t size) {
  const int64_t a = static_cast<int64_t>(SliceRandom()()) % (size + 1), b = static_cast<int64_t>(SliceRandom()()) % (size + 1);
  return a < b ? Range{a, b} : Range{b, a};
}

// Owns what the views of a test weight point into.
struct Maker {
  StoredWeight weight;
  TensorView Numbers(DType dtype, Shape shape) {
    Tensor t(dtype, shape);
    for (int64_t i = 0; i < shape.elems(); ++i) StoreScalar(dtype, t.bytes->data(), i, Number());
    weight.keep.push_back(t.bytes);
    return t.view;
  }
  TensorView Bytes(DType dtype, Shape shape, unsigned mask = 255) {
    Tensor t(dtype, shape);
    for (int64_t i = 0; i < t.view.size_bytes(); ++i) t.bytes->data()[i] = static_cast<std::byte>(SliceRandom()() & mask);
    weight.keep.push_back(t.bytes);
    return t.view;
  }
  TensorView Indices(Shape shape, const std::function<int64_t(int64_t)>& value) {
    Tensor t(DType::kI32, shape);
    for (int64_t i = 0; i < shape.elems(); ++i) t.as<int32_t>()[i] = static_cast<int32_t>(value(i));
    weight.keep.push_back(t.bytes);
    return t.view;
  }
  Coded IntCodes(int bits) {
    weight.format = FindFormat("int_group");
    weight.n = kSliceN;
    weight.k = kSliceK;
    Coded coded;
    coded.codes = DenseStream(Bytes(DType::kI32, {kSliceN, DenseStreamWords(kSliceK, bits)}), bits, StreamAxis::kAlongK);
    coded.scale.data = Numbers(DType::kF16, {kSliceN, 1});
    coded.zero_default = static_cast<float>(1 << (bits - 1));
    return coded;
  }
  // A plane with as many rows and groups as the whole matrix needs.
  Plane Blocks(DType dtype, int64_t block_n, int64_t block_k) {
    Plane plane;
    plane.block_n = block_n;
    plane.block_k = block_k;
    plane.data = Numbers(dtype, {block_n ? CeilDiv(kSliceN, block_n) : 1, block_k ? CeilDiv(kSliceK, block_k) : 1});
    return plane;
  }
  StoredWeight Finish(Coded coded) {
    weight.body = std::move(coded);
    return weight;
  }
};

std::vector<float> DecodeSlice(const StoredWeight& weight, Range n, Range k) {
  std::vector<float> out(static_cast<size_t>(n.size() * k.size()));
  DecodeRows(weight, n, k, out.data());
  return out;
}

void ExpectSliceIsRectangle(const StoredWeight& weight) {
  const std::vector<float> whole = DecodeSlice(weight, {0, weight.n}, {0, weight.k});
  for (int trial = 0; trial < 40; ++trial) {
    Range n = RandomRange(weight.n), k = RandomRange(weight.k);
    Result<StoredWeight> cut = Slice(weight, n, k);
    ASSERT_TRUE(cut) << cut.error().ToString();
    if (trial % 3 == 0) {  // a slice of the slice
      const Range inner_n = RandomRange(cut->n), inner_k = RandomRange(cut->k);
      cut = Slice(*cut, inner_n, inner_k);
      ASSERT_TRUE(cut) << cut.error().ToString();
      n = {n.begin + inner_n.begin, n.begin + inner_n.end};
      k = {k.begin + inner_k.begin, k.begin + inner_k.end};
    }
    const std::vector<float> part = DecodeSlice(*cut, {0, cut->n}, {0, cut->k});
    ASSERT_EQ(part.size(), static_cast<size_t>(n.size() * k.size()));
    if (part.empty()) continue;
    for (int64_t i = 0; i < n.size(); ++i) {
      const float* expected = whole.data() + (n.begin + i) * weight.k + k.begin;
      ASSERT_EQ(std::memcmp(part.data() + i * k.size(), expected, static_cast<size_t>(k.size()) * 4), 0)
          << "row " << i << " of " << n.begin << ".." << n.end << ", " << k.begin << ".." << k.end;
    }
  }
}

TEST(Slice, DenseOfAnyTypeAndStride) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    Maker maker;
    const StoredWeight plain = MakeDense(maker.Numbers(dtype, {kSliceN, kSliceK}), {}, nullptr);
    ExpectSliceIsRectangle(plain);
    ExpectSliceIsRectangle(MakeDense(maker.Numbers(dtype, {kSliceK, kSliceN}).Transpose(0, 1), {}, nullptr));
  }
}

TEST(Slice, IntegersOfEveryWidthAndGroup) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int64_t group : {0, 16, 32, 50, 128}) {  // 50 and 128 leave a ragged last group of 160
      Maker maker;
      Coded coded = maker.IntCodes(bits);
      coded.scale = maker.Blocks(DType::kBF16, 1, group);
      ExpectSliceIsRectangle(maker.Finish(coded));
    }
  }
}

TEST(Slice, TransposedScalesAndPackedZeroPoints) {
  Maker maker;
  Coded coded = maker.IntCodes(4);
  coded.scale.block_k = 32;
  coded.scale.data = maker.Numbers(DType::kF16, {5, kSliceN}).Transpose(0, 1);
  coded.zero.emplace();
  coded.zero->block_k = 32;
  coded.zero->packed = DenseStream(maker.Bytes(DType::kI32, {5, kSliceN / 8}), 4, StreamAxis::kAlongN);
  coded.zero->packed_bias = 1;
  ExpectSliceIsRectangle(maker.Finish(coded));
}

TEST(Slice, ActOrderKeepsAllGroups) {
  Maker maker;
  Coded coded = maker.IntCodes(4);
  coded.scale = maker.Blocks(DType::kF16, 1, 32);
  coded.zero = maker.Blocks(DType::kF32, 1, 32);
  coded.scale2 = maker.Blocks(DType::kF32, 0, 0);
  coded.group_of_k = maker.Indices({kSliceK}, [](int64_t) { return static_cast<int64_t>(SliceRandom()() % 5); });
  ExpectSliceIsRectangle(maker.Finish(coded));
}

TEST(Slice, BlocksOfRowsAndColumnsWithDifferentPlanes) {
  Maker maker;
  Coded coded = maker.IntCodes(8);
  coded.rule = ValueRule::kFloat;
  coded.float_type = DType::kE5M2;
  coded.codes = ByteCodes(maker.Bytes(DType::kE5M2, {kSliceN, kSliceK}, 0x7b), 8, 0);
  coded.scale = maker.Blocks(DType::kF32, 32, 64);
  coded.scale2 = maker.Blocks(DType::kBF16, 5, 48);
  ExpectSliceIsRectangle(maker.Finish(coded));
}

TEST(Slice, AdditiveTermTablesAndReciprocals) {
  Maker maker;
  Coded bias = maker.IntCodes(4);
  bias.rule = ValueRule::kIntPlusBias;
  bias.scale = maker.Blocks(DType::kF16, 1, 32);
  bias.zero = maker.Blocks(DType::kF16, 1, 32);
  ExpectSliceIsRectangle(maker.Finish(bias));

  Coded table = maker.IntCodes(4);
  table.rule = ValueRule::kTable;
  table.table = maker.Numbers(DType::kF32, {16});
  table.scale = maker.Blocks(DType::kF32, 1, 64);
  table.scale.reciprocal = true;
  table.scale.multiplier = 1.0f / 127;
  ExpectSliceIsRectangle(maker.Finish(table));

  Coded rows = maker.IntCodes(3);
  rows.rule = ValueRule::kRowTable;
  rows.table = maker.Numbers(DType::kF32, {kSliceN, 8});
  ExpectSliceIsRectangle(maker.Finish(rows));
}

TEST(Slice, FlatDoublyQuantizedPlanesStraddleRows) {
  Maker maker;
  Coded coded = maker.IntCodes(4);
  coded.rule = ValueRule::kTable;
  coded.table = maker.Numbers(DType::kF32, {16});
  Plane& scale = coded.scale;
  scale.flat = true;
  scale.flat_k = kSliceK;
  scale.block_k = 64;  // 160 is no multiple
  scale.data = maker.Bytes(DType::kU8, {kSliceN * kSliceK / 64});
  scale.table = maker.Numbers(DType::kF32, {256});
  scale.outer = maker.Numbers(DType::kF32, {CeilDiv(kSliceN * kSliceK / 64, 16)});
  scale.outer_block = 16;
  scale.offset = 0.25f;
  ExpectSliceIsRectangle(maker.Finish(coded));
}

TEST(Slice, RowMapsChooseAmongRowsOfTheBody) {
  Maker maker;
  Coded coded = maker.IntCodes(4);
  coded.scale = maker.Blocks(DType::kF32, 1, 16);
  StoredWeight weight = maker.Finish(coded);
  weight.n = 20;
  weight.row_map = maker.Indices({20}, [](int64_t i) { return (i * 7 + 3) % kSliceN; });
  ExpectSliceIsRectangle(weight);
  StoredWeight dense = MakeDense(maker.Numbers(DType::kF32, {kSliceN, kSliceK}), {}, nullptr);
  dense.n = 20;
  dense.row_map = weight.row_map;
  ExpectSliceIsRectangle(dense);
}

TEST(Slice, SelectedRowsAreThoseRowsInTheirOrder) {
  Maker maker;
  Coded coded = maker.IntCodes(4);
  coded.scale = maker.Blocks(DType::kF32, 3, 16);
  StoredWeight weight = maker.Finish(coded);
  const std::vector<float> all = DecodeSlice(weight, {0, kSliceN}, {0, kSliceK});
  const std::vector<int32_t> rows = {40, 41, 3, 3, 17, 0};
  const auto expect_rows = [&](const StoredWeight& from, const std::vector<int32_t>& asked, const std::vector<int32_t>& wanted) {
    const auto selected = SelectRows(from, asked);
    ASSERT_TRUE(selected) << selected.error().ToString();
    ASSERT_EQ(selected->n, static_cast<int64_t>(wanted.size()));
    const std::vector<float> got = DecodeSlice(*selected, {0, selected->n}, {0, kSliceK});
    for (size_t i = 0; i < wanted.size(); ++i)
      EXPECT_EQ(
          std::memcmp(got.data() + static_cast<int64_t>(i) * kSliceK, all.data() + wanted[i] * kSliceK, kSliceK * sizeof(float)), 0)
          << i;
    ExpectSliceIsRectangle(*selected);
  };
  expect_rows(weight, rows, rows);
  const auto once = SelectRows(weight, rows);
  ASSERT_TRUE(once);
  expect_rows(*once, {5, 2, 0}, {0, 3, 40});
  weight.out = {Transform{}};
  EXPECT_EQ(SelectRows(weight, rows).error().code, Code::kUnsupported);
}

void DecodeToy(const std::byte* row, int64_t first, int64_t count, float* out) {  // 24 elements in 24 bytes after a head of 2 or 0
  for (int64_t i = 0; i < count * 24; ++i) out[i] = static_cast<float>(static_cast<uint8_t>(row[first * 24 + i]));
}
void DecodeToyWithHead(const std::byte* row, int64_t first, int64_t count, float* out) {
  DecodeToy(row + 2, first, count, out);
  for (int64_t i = 0; i < count * 24; ++i) out[i] *= static_cast<float>(static_cast<uint8_t>(row[0]));
}

TEST(Slice, OpaqueBlocksMayBeCutAnywhere) {
  const Format plain = {.name = "toy", .summary = "", .block_elems = 24, .block_bytes = 24, .decode = DecodeToy};
  const Format head = {
      .name = "toy_head", .summary = "", .block_elems = 24, .block_bytes = 24, .row_meta_bytes = 2, .decode = DecodeToyWithHead};
  for (const Format* format : {&plain, &head}) {
    Maker maker;
    StoredWeight& weight = maker.weight;
    weight.format = format;
    weight.n = kSliceN;
    weight.k = 168;
    weight.body = Blocked{maker.Bytes(DType::kU8, {kSliceN, format->row_bytes(168)}), 0};
    ExpectSliceIsRectangle(weight);
    EXPECT_EQ(StoredBytes(*Slice(weight, {0, 1}, {0, 168})), format->row_bytes(168));
  }
}

void DecodeCounter(const void* state, Range n, Range k, float* out) {
  for (int64_t i = n.begin; i < n.end; ++i) {
    for (int64_t j = k.begin; j < k.end; ++j) *out++ = static_cast<float>(i * 1000 + j) * *static_cast<const float*>(state);
  }
}

TEST(Slice, CustomCodecsSeeTheirOwnCoordinates) {
  static const CustomCodec codec = {"counter", DecodeCounter, 0.5};
  StoredWeight weight;
  weight.n = kSliceN;
  weight.k = kSliceK;
  weight.body = Custom{&codec, std::make_shared<float>(2.0f), 0, 0};
  ExpectSliceIsRectangle(weight);
  EXPECT_EQ(BitsPerWeight(weight), 0.5);
}

TEST(Slice, TransformsAreCutWhereTheyCanBe) {
  Maker maker;
  StoredWeight weight = MakeDense(maker.Numbers(DType::kF32, {kSliceN, kSliceK}), {"", "layer"}, nullptr);
  weight.in.push_back({Transform::kScale, maker.Numbers(DType::kF32, {kSliceK}), {}, 0, false});
  weight.in.push_back({Transform::kPermute, maker.Indices({kSliceK}, [](int64_t j) { return j ^ 1; }), {}, 0, false});
  weight.in.push_back({Transform::kHadamard, {}, {}, 32, false});
  weight.in.push_back(
      {Transform::kGivens, maker.Numbers(DType::kF32, {2}), maker.Indices({2, 2}, [](int64_t i) { return i * 20; }), 0, false});
  const Result<StoredWeight> cut = Slice(weight, {0, kSliceN}, {0, 32});
  ASSERT_TRUE(cut) << cut.error().ToString();
  EXPECT_EQ(cut->in[0].data.dim(0), 32);
  EXPECT_EQ(cut->in[3].data2.dim(0), 1);                                             // the pair (40, 60) is elsewhere
  EXPECT_EQ(Slice(weight, {0, kSliceN}, {0, 33}).error().code, Code::kUnsupported);  // splits a permuted pair
  EXPECT_EQ(Slice(weight, {0, kSliceN}, {0, 34}).error().code, Code::kUnsupported);  // splits a rotated block
  weight.in[3].data2 = maker.Indices({1, 2}, [](int64_t i) { return i * 100; });
  weight.in[3].data = weight.in[3].data.Slice(0, 0, 1);
  EXPECT_EQ(Slice(weight, {0, kSliceN}, {0, 96}).error().code, Code::kUnsupported);  // a rotation across the cut
  EXPECT_TRUE(Slice(weight, {3, 9}, {0, kSliceK}));                                  // rows do not care
}

}  // namespace
}  // namespace nibble
