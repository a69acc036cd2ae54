// SPDX-License-Identifier: Apache-2.0
#include "models/matrices.h"

#include <gtest/gtest.h>

#include "io/json.h"
#include "support/numbered_checkpoint.h"

namespace nibble {
namespace {

float FirstValue(const MatrixTable& table, const std::string& name) {
  const auto matrix = table.Find(name);
  EXPECT_TRUE(matrix) << matrix.error().ToString();
  if (!matrix) return -1;
  const auto part = table.Load(*matrix);
  EXPECT_TRUE(part) << part.error().ToString();
  if (!part) return -1;
  float value;
  DecodeRows(*part->weight, {0, 1}, {0, 1}, &value);
  return value;
}

TEST(MatrixTable, SplitAndFusedNamesOfAnUnknownArchitecture) {
  const testing::TempDir dir;
  const auto checkpoint = testing::MakeNumberedCheckpoint(
      dir,
      R"({"model_type":"nobody","hidden_size":4,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":6})",
      {{"model.embed_tokens.weight", {6, 4}},
       {"model.layers.0.self_attn.qkv_proj.weight", {8, 4}},
       {"model.layers.0.mlp.gate_up_proj.weight", {10, 4}},
       {"model.layers.0.mlp.experts.gate_up_proj", {3, 10, 4}},
       {"model.layers.0.mlp.experts.down_proj", {3, 4, 5}},
       {"model.layers.1.block_sparse_moe.experts.2.w3.weight", {5, 4}},
       {"model.norm.weight", {4}}});
  const auto table = MatrixTable::Of(*checkpoint);
  ASSERT_TRUE(table) << table.error().ToString();
  EXPECT_FALSE(table->architecture_known());
  EXPECT_EQ(FirstValue(*table, "model.layers.0.self_attn.qkv_proj"), 0);
  EXPECT_EQ(FirstValue(*table, "model.layers.0.self_attn.k_proj"), 16);
  EXPECT_EQ(FirstValue(*table, "model.layers.0.self_attn.v_proj.weight"), 24);
  EXPECT_EQ(FirstValue(*table, "model.layers.0.mlp.up_proj"), 20);
  EXPECT_EQ(FirstValue(*table, "model.layers.0.mlp.experts.1.up_proj"), 60);
  EXPECT_EQ(FirstValue(*table, "model.layers.0.mlp.experts.2.down_proj"), 40);
  EXPECT_EQ(FirstValue(*table, "model.layers.1.mlp.experts.2.up_proj"), 0);
  EXPECT_EQ(FirstValue(*table, "model.layers.1.block_sparse_moe.experts.2.w3"), 0);
  EXPECT_EQ(FirstValue(*table, "lm_head"), 0);
  EXPECT_EQ(table->Find("lm_head")->tied_to, "model.embed_tokens");
  const auto norm = table->Find("model.norm");
  ASSERT_TRUE(norm);
  EXPECT_EQ(table->LoadVector(*norm)->size(), 4u);
}

TEST(MatrixTable, KnownArchitectureGivesShapesAndOrder) {
  auto checkpoint = Checkpoint::Open(testing::Repo("tests/data/models/tales-1m"), CheckpointKind::kHubFolder);
  ASSERT_TRUE(checkpoint);
  const auto table = MatrixTable::Of(**checkpoint);
  ASSERT_TRUE(table);
  EXPECT_TRUE(table->architecture_known());
  EXPECT_EQ(table->all().front().name, "model.embed_tokens");
  EXPECT_EQ(table->all().back().name, "model.norm.weight");
  const auto q = table->Find("model.layers.1.self_attn.k_proj");
  ASSERT_TRUE(q);
  EXPECT_EQ(q->n, 128);
  EXPECT_EQ(q->k, 256);
  for (const NamedMatrix& matrix : table->all()) {
    if (matrix.kind == NamedMatrix::kVector)
      EXPECT_TRUE(table->LoadVector(matrix)) << matrix.name;
    else
      EXPECT_TRUE(table->Load(matrix)) << matrix.name;
  }
  EXPECT_TRUE((*checkpoint)->Unclaimed().empty());
}

TEST(MatrixTable, AWrongNameGetsTheNearest) {
  auto checkpoint = Checkpoint::Open(testing::Repo("tests/data/models/tales-1m"), CheckpointKind::kHubFolder);
  ASSERT_TRUE(checkpoint);
  const auto table = MatrixTable::Of(**checkpoint);
  ASSERT_TRUE(table);
  const auto wrong = table->Find("model.layers.1.mlp.dwn_proj");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::kNotFound);
  EXPECT_NE(wrong.error().message.find("the nearest names are model.layers.1.mlp.down_proj,"), std::string::npos)
      << wrong.error().message;
}

}  // namespace
}  // namespace nibble
