// SPDX-License-Identifier: Apache-2.0
// The executor's small operations on rows, run as a graph: embedding -> operation -> the rows whose logits are wanted.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "graph/builder.h"
#include "graph/cpu_executor.h"
#include "graph/passes.h"

namespace nibble {
namespace {

using Rows = std::vector<std::vector<float>>;

// Row i of the result is what `ops` made of row i of `table`, token i at position `positions[i]` of a sequence of `length`.
Rows RunOps(const Rows& table, const std::function<BufferId(GraphBuilder&, BufferId)>& ops, std::vector<int32_t> positions = {},
            int32_t length = 0, std::vector<std::vector<float>> vectors = {}, int threads = 1) {
  const auto count = static_cast<int64_t>(table.size()), width = static_cast<int64_t>(table[0].size());
  std::vector<float> flat;
  for (const auto& row : table) flat.insert(flat.end(), row.begin(), row.end());
  GraphBuilder builder(0, 1);
  const BufferId out = ops(builder, builder.Embed("table", count, width));
  Graph graph = builder.Finish().value();
  graph.logits = static_cast<BufferId>(graph.buffers.size());
  graph.buffers.push_back({.width = graph.buffers[static_cast<size_t>(out)].width, .logits_rows = true});
  graph.ops.push_back({.op = GatherRowsOp{out, graph.logits}, .name = "result"});
  FuseRowwise(&graph);
  RepeatRowwise(&graph);
  PlanBuffers(&graph);
  BoundWeights weights;
  weights.embeddings.push_back(
      std::make_shared<StoredWeight>(MakeDense(TensorView(flat.data(), DType::kF32, {count, width}), {}, {})));
  weights.vectors = std::move(vectors);
  const int64_t result_width = graph.buffers.back().width;
  CpuExecutor executor(graph, std::move(weights), Isa::kScalar, nullptr, std::make_shared<ThreadTeam>(threads), nullptr, count,
                       count);
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < count; ++i) ids.push_back(i);
  if (positions.empty()) positions = ids;
  const std::vector<int32_t> sequence(ids.size()), lengths = {length};
  const float* result =
      executor.Run({.ids = ids, .positions = positions, .sequence = sequence, .lengths = lengths, .logits_rows = ids});
  Rows rows;
  for (int64_t i = 0; i < count; ++i) rows.emplace_back(result + i * result_width, result + (i + 1) * result_width);
  return rows;
}

void ExpectNear(const std::vector<float>& got, const std::vector<double>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(static_cast<double>(got[i]), wanted[i], 1e-5 * (1 + std::fabs(wanted[i]))) << i;
}

TEST(Rowwise, XieluBendsBothSides) {
  const float alpha_p = 0.3f, alpha_n = -0.4f;
  const std::vector<float> in = {-30, -2, -0.5f, -1e-8f, 0, 1e-3f, 1, 7};
  const auto softplus = [](double x) { return std::log1p(std::exp(x)); };
  const double p = softplus(alpha_p), n = 0.5 + softplus(alpha_n);
  std::vector<double> wanted;
  for (const float each : in) {
    const auto x = static_cast<double>(each);
    wanted.push_back(x > 0 ? p * x * x + 0.5 * x : (std::exp(std::min(x, -1e-6)) - 1 - x) * n + 0.5 * x);
  }
  const auto rows = RunOps(
      {in, in},
      [](GraphBuilder& b, BufferId x) {
        b.Xielu(x, "alpha_p", "alpha_n");
        return x;
      },
      {}, 0, {{alpha_p}, {alpha_n}}, 2);
  for (const auto& row : rows) ExpectNear(row, wanted);
}

TEST(Rowwise, ClampAndCap) {
  const Rows table = {{-9, -1, 0.5f, 3}};
  EXPECT_EQ(RunOps(table,
                   [](GraphBuilder& b, BufferId x) {
                     b.Clamp(x, 2);
                     return x;
                   })[0],
            (std::vector<float>{-2, -1, 0.5f, 2}));
  EXPECT_EQ(RunOps(table,
                   [](GraphBuilder& b, BufferId x) {
                     b.Scale(x, 0.5f);
                     return x;
                   })[0],
            (std::vector<float>{-4.5f, -0.5f, 0.25f, 1.5f}));
}

TEST(Rowwise, OneFactorServesManyColumns) {
  const auto rows = RunOps({{1, 2, 3, 4, 0, 30}, {1, 1, 1, 1, -30, 0}}, [](GraphBuilder& b, BufferId x) {
    const BufferId values = b.NewBuffer(4), gates = b.NewBuffer(2);
    b.CopyColumns({.in = x, .out = values, .width = 4});
    b.CopyColumns({.in = x, .out = gates, .in_begin = 4, .width = 2});
    b.Multiply(values, gates, Activation::kSigmoid);
    return values;
  });
  ExpectNear(rows[0], {0.5, 1, 3, 4});
  ExpectNear(rows[1], {0, 0, 0.5, 0.5});
}

TEST(Rowwise, ColumnsAreCopiedInBlocks) {
  const auto rows = RunOps({{0, 1, 2, 3, 4, 5, 6, 7}}, [](GraphBuilder& b, BufferId x) {
    const BufferId out = b.NewBuffer(5);
    b.CopyColumns({.in = x, .out = out, .width = 1});
    b.CopyColumns({.in = x, .out = out, .in_begin = 1, .in_stride = 4, .out_begin = 1, .out_stride = 2, .blocks = 2, .width = 2});
    return out;
  });
  EXPECT_EQ(rows[0], (std::vector<float>{0, 1, 2, 5, 6}));
}

// LongRoPE: a sequence beyond the length has other frequencies and another factor, from its first position on.
TEST(Rowwise, LongSequencesTurnByTheOtherTable) {
  const RopeSpec rope{.rotary_dims = 2,
                      .inv_freq = {0.5f},
                      .attention_factor = 2,
                      .long_from = 16,
                      .long_inv_freq = {0.125f},
                      .long_attention_factor = 3};
  for (const int32_t length : {16, 17}) {
    const bool is_long = length > 16;
    const auto rows = RunOps(
        {{1, 0}, {1, 0}},
        [&](GraphBuilder& b, BufferId x) {
          GraphBuilder::Qkv q{.buffer = x, .q_heads = 1, .kv_heads = 0, .dim = 2, .v_dim = 2};
          b.Rope(q, b.AddRope(rope));
          return x;
        },
        {0, 4}, length);
    const double angle = is_long ? 0.5 : 2, factor = is_long ? 3 : 2;
    ExpectNear(rows[0], {factor, 0});
    ExpectNear(rows[1], {factor * std::cos(angle), factor * std::sin(angle)});
  }
}

}  // namespace
}  // namespace nibble
