// SPDX-License-Identifier: Apache-2.0
// Parts of fused modules, of every order and orientation in which float files have them, with their biases.
#include <gtest/gtest.h>

#include "support/numbered_checkpoint.h"
#include "tensors/scalar.h"

namespace nibble {
namespace {

const std::string kNobodysConfig = R"({"model_type": "nobody"})";

// First element of each row of what the query finds; then its biases.
std::vector<float> FirstColumn(Checkpoint& checkpoint, const Checkpoint::LinearQuery& query) {
  const auto part = checkpoint.Linear(query);
  EXPECT_TRUE(part) << part.error().ToString();
  if (!part) return {};
  std::vector<float> column(static_cast<size_t>(part->weight->n));
  for (int64_t row = 0; row < part->weight->n; ++row)
    DecodeRows(*part->weight, {row, row + 1}, {0, 1}, &column[static_cast<size_t>(row)]);
  if (!part->bias) return column;
  std::vector<float> bias(static_cast<size_t>(part->weight->n));
  ConvertToF32(part->bias.dtype, part->bias.data, part->weight->n, bias.data());
  column.insert(column.end(), bias.begin(), bias.end());
  return column;
}

// Two kv heads of two rows, each after its two q heads and before its v head: 16 rows of 3 columns.
TEST(FusedModules, GroupsOfHeadsAreTakenApart) {
  const testing::TempDir dir;
  const auto checkpoint = testing::MakeNumberedCheckpoint(dir, kNobodysConfig, {{"qkv.weight", {16, 3}}, {"qkv.bias", {16}}});
  ASSERT_TRUE(checkpoint);
  const auto part = [](const char* name, int64_t n, int64_t row, int64_t block) {
    return Checkpoint::LinearQuery{.name = name,
                                   .n = n,
                                   .k = 3,
                                   .fused_name = "qkv",
                                   .fused_row = row,
                                   .fused_n = 16,
                                   .fused_block = block,
                                   .fused_stride = 8,
                                   .bias = true};
  };
  EXPECT_EQ(FirstColumn(*checkpoint, part("q", 8, 0, 4)),
            (std::vector<float>{0, 3, 6, 9, 24, 27, 30, 33, 0, 1, 2, 3, 8, 9, 10, 11}));
  EXPECT_EQ(FirstColumn(*checkpoint, part("k", 4, 4, 2)), (std::vector<float>{12, 15, 36, 39, 4, 5, 12, 13}));
  EXPECT_EQ(FirstColumn(*checkpoint, part("v", 4, 6, 2)), (std::vector<float>{18, 21, 42, 45, 6, 7, 14, 15}));
  EXPECT_TRUE(checkpoint->Unclaimed().empty());
}

TEST(FusedModules, TransposedFloatsAreReadByTheirShape) {
  const testing::TempDir dir;
  const auto checkpoint = testing::MakeNumberedCheckpoint(
      dir, kNobodysConfig, {{"c_attn.weight", {3, 6}}, {"c_attn.bias", {6}}, {"usual.weight", {4, 3}}});
  ASSERT_TRUE(checkpoint);
  const auto part = [](const char* name, int64_t row) {
    return Checkpoint::LinearQuery{
        .name = name, .n = 2, .k = 3, .fused_name = "c_attn", .fused_row = row, .fused_n = 6, .transposed = true, .bias = true};
  };
  EXPECT_EQ(FirstColumn(*checkpoint, part("q", 0)), (std::vector<float>{0, 1, 0, 1}));
  EXPECT_EQ(FirstColumn(*checkpoint, part("v", 4)), (std::vector<float>{4, 5, 4, 5}));
  // A file that has the usual orientation is read as it is.
  EXPECT_EQ(FirstColumn(*checkpoint, {.name = "usual", .n = 4, .k = 3, .transposed = true}), (std::vector<float>{0, 3, 6, 9}));
  EXPECT_TRUE(checkpoint->Unclaimed().empty());
}

TEST(FusedModules, StackedFloatExpertsOfEveryOrder) {
  const testing::TempDir dir;
  const auto checkpoint = testing::MakeNumberedCheckpoint(dir, kNobodysConfig,
                                                          {{"a.experts.gate_up_proj", {2, 4, 3}},  // [E, 2I, H], gate first
                                                           {"b.experts.gate_up_proj", {2, 3, 4}},  // [E, H, 2I], alternating
                                                           {"b.experts.gate_up_proj_bias", {2, 4}}});
  ASSERT_TRUE(checkpoint);
  const auto rows = [&](const char* prefix, MoeMatrix which, bool other) {
    const auto part = checkpoint->Expert(
        {.prefix = prefix, .expert = 1, .which = which, .n = 2, .k = 3, .stacked_transposed = other, .stacked_interleaved = other});
    EXPECT_TRUE(part) << part.error().ToString();
    std::vector<float> values(6);
    DecodeRows(*part->weight, {0, 2}, {0, 3}, values.data());
    for (int64_t i = 0; part->bias && i < 2; ++i)
      values.push_back(LoadScalar(DType::kF32, part->bias.data + i * part->bias.stride[0] * 4, 0));
    return values;
  };
  EXPECT_EQ(rows("a.experts", MoeMatrix::kGate, false), (std::vector<float>{12, 13, 14, 15, 16, 17}));
  EXPECT_EQ(rows("a.experts", MoeMatrix::kUp, false), (std::vector<float>{18, 19, 20, 21, 22, 23}));
  EXPECT_EQ(rows("b.experts", MoeMatrix::kGate, true), (std::vector<float>{12, 16, 20, 14, 18, 22, 4, 6}));
  EXPECT_EQ(rows("b.experts", MoeMatrix::kUp, true), (std::vector<float>{13, 17, 21, 15, 19, 23, 5, 7}));
}

}  // namespace
}  // namespace nibble
