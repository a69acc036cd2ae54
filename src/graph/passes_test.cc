// SPDX-License-Identifier: Apache-2.0
#include "graph/passes.h"

#include <gtest/gtest.h>

#include "graph/builder.h"

namespace nibble {
namespace {

Graph TwoLayers() {
  GraphBuilder b(0, 1);
  const int rope = b.AddRope({.rotary_dims = 8, .inv_freq = {1, 1, 1, 1}});
  const BufferId x = b.Embed("embed", 100, 32);
  for (const char* layer : {"a.", "b."}) {
    const std::string p = layer;
    const auto qkv = b.QkvProjection(b.NormOf(x, {.name = p + "n1"}),
                                     {.q = p + "q", .k = p + "k", .v = p + "v", .heads = {.q = 4, .kv = 2, .dim = 8}});
    b.Rope(qkv, rope);
    b.Add(x, b.RowParallel(b.Attention(qkv, {}), {p + "o", 32}, 32, 8));
    b.Add(x, b.GatedMlp(b.NormOf(x, {.name = p + "n2"}),
                        {.gate = p + "g", .up = p + "u", .down = p + "d", .hidden = 32, .inter = 48}));
  }
  b.Logits(x, {.name = "n"}, {.vocab = 100});
  return b.Finish().value();
}

TEST(Passes, RowwiseStretchesHaveNoBarrier) {
  Graph graph = TwoLayers();
  FuseRowwise(&graph);
  int barriers = 0;
  for (const Op& op : graph.ops) barriers += op.barrier_before;
  // Per layer: qkv | rope, write | attention | o | add, norm | gate_up | activation | down | (add, norm of the next stretch).
  EXPECT_LE(barriers, 2 * 9 + 4);
  for (size_t i = 1; i < graph.ops.size(); ++i)
    if (!graph.ops[i].barrier_before) {
      EXPECT_TRUE(IsRowwise(graph.ops[i].op) && IsRowwise(graph.ops[i - 1].op));
    }
}

TEST(Passes, AStepOfOneRowHasFiveBarriersALayer) {
  Graph graph = TwoLayers();
  FuseRowwise(&graph);
  RepeatRowwise(&graph);
  int barriers = 0;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    barriers += op.barrier_before_one && op.heads_of != static_cast<int>(i);
    if (!op.repeated) continue;
    EXPECT_TRUE(IsRowwise(op.op));
    for (const BufferId id : BuffersOf(op.op).writes) EXPECT_TRUE(graph.buffers[static_cast<size_t>(id)].own) << op.name;
  }
  // Embedding; behind qkv, attention, o, gate and up, and down of each layer; behind the gathered row.
  EXPECT_EQ(barriers, 1 + 2 * 5 + 1);
  for (const Op& op : graph.ops)  // written head by head, or by what all workers do together
    if (!IsRowwise(op.op) || std::holds_alternative<RopeOp>(op.op)) {
      EXPECT_FALSE(op.repeated) << op.name;
    }
}

TEST(Passes, BuffersThatLiveAtTheSameStageNeverOverlap) {
  Graph graph = TwoLayers();
  FuseRowwise(&graph);
  RepeatRowwise(&graph);
  PlanBuffers(&graph);
  struct Life {
    int first = 1 << 30, last = -1;
  };
  std::vector<Life> lives(graph.buffers.size());
  int stage = 0;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    stage += op.barrier_before_one && op.heads_of != static_cast<int>(i);  // the fewer barriers, the longer they live
    const OpBuffers used = BuffersOf(op.op);
    for (const auto* list : {&used.reads, &used.writes})
      for (const BufferId id : *list) {
        lives[static_cast<size_t>(id)].first = std::min(lives[static_cast<size_t>(id)].first, stage);
        lives[static_cast<size_t>(id)].last = std::max(lives[static_cast<size_t>(id)].last, stage);
      }
  }
  int64_t sum = 0;
  for (size_t a = 0; a < lives.size(); ++a) {
    sum += graph.buffers[a].width;
    for (size_t b = 0; b < a; ++b) {
      const BufferSpec &x = graph.buffers[a], &y = graph.buffers[b];
      if (x.logits_rows != y.logits_rows || lives[a].last < lives[b].first || lives[b].last < lives[a].first) continue;
      EXPECT_TRUE(x.offset + x.width <= y.offset || y.offset + y.width <= x.offset) << a << " and " << b;
    }
  }
  EXPECT_LT(graph.floats_per_row, sum / 2);  // space is shared at all
}

TEST(Builder, HeadsThatRanksCannotShareAreRefusedWithWhatWould) {
  GraphBuilder b(0, 3);
  const BufferId x = b.Embed("embed", 100, 32);
  b.QkvProjection(x, {.q = "q", .k = "k", .v = "v", .heads = {.q = 4, .kv = 2, .dim = 8}});
  const auto graph = b.Finish();
  ASSERT_FALSE(graph);
  EXPECT_NE(graph.error().message.find("1, 2, 4"), std::string::npos) << graph.error().message;
}

}  // namespace
}  // namespace nibble
