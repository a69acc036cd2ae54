// SPDX-License-Identifier: Apache-2.0
// Operations on rewritten states against their formulas in double precision, and that nothing depends on chunks, threads or other
// sequences.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "graph/cpu_executor.h"
#include "graph/passes.h"

namespace nibble {
namespace {

using Rows = std::vector<std::vector<float>>;

constexpr int64_t kTokens = 40;  // the "vocabulary": row i of a random table is the input of token i

// A graph of one operation over a table of random inputs.
struct Model {
  std::vector<float> table;
  Graph graph;
  BoundWeights weights;
  int64_t in_width, out_width;

  Model(int64_t in, int64_t out, AnyOp op, const LayerState& state, std::vector<std::vector<float>> vectors)
      : in_width(in), out_width(out) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < kTokens * in; ++i) table.push_back(normal(random));
    graph.buffers = {{.width = in}, {.width = out}};
    graph.embeddings = {{"table", kTokens, in}};
    graph.states = {state};
    graph.ops.push_back({.op = EmbedOp{0, 0}, .name = "table"});
    graph.ops.push_back({.op = std::move(op), .name = "operation"});
    graph.logits = 1;
    FuseRowwise(&graph);
    RepeatRowwise(&graph);
    PlanBuffers(&graph);
    weights.vectors = std::move(vectors);
    const TensorView view(table.data(), DType::kF32, {kTokens, in});
    weights.embeddings.push_back(std::make_shared<StoredWeight>(MakeDense(view, {}, nullptr)));
  }
  const float* input(int32_t token) const { return table.data() + token * in_width; }
};

// Runs sequences together, `chunk` rows of each a step, after one of other tokens has used every slot.
std::vector<Rows> Run(const Model& model, const std::vector<std::vector<int32_t>>& sequences, int64_t chunk, int threads) {
  const auto count = static_cast<int64_t>(sequences.size());
  auto cache = PagedCache::Make(model.graph.states, DType::kF32, {1, count}).value();
  CpuExecutor executor(model.graph, model.weights, Cpu().isa, &cache, std::make_shared<ThreadTeam>(threads), nullptr, 64, 1);
  std::vector<Rows> out(sequences.size());
  std::vector<int32_t> slots;
  for (int64_t i = 0; i < count; ++i) slots.push_back(cache.slots()->Allocate());
  for (int64_t begin = -1; begin < kTokens; begin = begin < 0 ? 0 : begin + chunk) {
    std::vector<int32_t> ids, positions, sequence;
    const std::vector<int32_t> lengths(sequences.size(), 1);
    for (size_t s = 0; s < sequences.size(); ++s) {
      const auto size = static_cast<int64_t>(sequences[s].size());
      for (int64_t i = std::max<int64_t>(begin, 0); i < (begin < 0 ? 1 : std::min(begin + chunk, size)); ++i) {
        ids.push_back(begin < 0 ? 39 : sequences[s][static_cast<size_t>(i)]);
        positions.push_back(static_cast<int32_t>(i));
        sequence.push_back(static_cast<int32_t>(s));
      }
    }
    if (ids.empty()) break;
    StepInput step{.ids = ids, .positions = positions, .sequence = sequence, .lengths = lengths, .slots = slots};
    const float* result = executor.Run(step);
    for (size_t row = 0; begin >= 0 && row < ids.size(); ++row, result += model.out_width)
      out[static_cast<size_t>(sequence[row])].emplace_back(result, result + model.out_width);
  }
  return out;
}

const std::vector<std::vector<int32_t>> kSequences = {{3, 1, 4, 1, 5, 9, 2, 6, 5, 35}, {2, 7, 18, 28}, {31}};

// `want`: rows of one sequence by the formula.
template <typename Want>
void Check(const Model& model, const Want& want) {
  const std::vector<Rows> whole = Run(model, kSequences, kTokens, 1);
  for (size_t s = 0; s < kSequences.size(); ++s) {
    const std::vector<std::vector<double>> wanted = want(kSequences[s]);
    for (size_t row = 0; row < wanted.size(); ++row)
      for (size_t i = 0; i < wanted[row].size(); ++i)
        ASSERT_NEAR(static_cast<double>(whole[s][row][i]), wanted[row][i], 1e-5)
            << "sequence " << s << " row " << row << " column " << i;
  }
  for (const int64_t chunk : {1, 2, 3, 7})
    for (const int threads : {1, 3}) EXPECT_EQ(Run(model, kSequences, chunk, threads), whole) << chunk << " " << threads;
  for (size_t s = 0; s < kSequences.size(); ++s) EXPECT_EQ(Run(model, {kSequences[s]}, 2, 2)[0], whole[s]);
}

std::vector<float> Numbers(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers;
  for (int64_t i = 0; i < count; ++i) numbers.push_back(normal(random));
  return numbers;
}

// 70 of 100 channels, in two ranges; more than one stretch of channels.
TEST(ShortConv, EqualsTheSumOverItsLastInputs) {
  for (const int64_t kernel : {1, 2, 4}) {
    const std::vector<float> weight = Numbers(100 * kernel, 1), bias = Numbers(100, 2);
    ShortConvOp op{.in = 0, .out = 1, .layer = 0, .begin = 140, .kernel = kernel, .weight = 0, .bias = 1};
    op.channels = {{10, 50}, {60, 90}};
    op.before = 0;
    op.after = 70;
    op.silu = true;
    const Model model(210, 70, op, {.kind = StateKind::kConvolution, .heads = 1, .k_dim = kernel - 1, .v_dim = 70}, {weight, bias});
    Check(model, [&](const std::vector<int32_t>& tokens) {
      std::vector<std::vector<double>> rows;
      for (size_t t = 0; t < tokens.size(); ++t) {
        auto& row = rows.emplace_back();
        for (int64_t c = 0; c < 70; ++c) {
          const auto stored = static_cast<size_t>(c < 40 ? 10 + c : 20 + c);
          double y = static_cast<double>(bias[stored]);
          for (int64_t j = 0; j < kernel && j <= static_cast<int64_t>(t); ++j) {
            const float* in = model.input(tokens[t - static_cast<size_t>(j)]);
            y += static_cast<double>(weight[stored * static_cast<size_t>(kernel) + static_cast<size_t>(kernel - 1 - j)]) *
                 static_cast<double>(in[c]) * static_cast<double>(in[140 + c]);
          }
          row.push_back(y / (1 + std::exp(-y)) * static_cast<double>(model.input(tokens[t])[70 + c]));
        }
      }
      return rows;
    });
  }
}

constexpr int64_t kKeyDim = 6, kValueDim = 5;
using State = std::vector<std::vector<double>>;

// out = q^T s
std::vector<double> Read(const State& s, const std::vector<double>& q) {
  std::vector<double> out(kValueDim);
  for (size_t i = 0; i < q.size(); ++i)
    for (size_t j = 0; j < out.size(); ++j) out[j] += q[i] * s[i][j];
  return out;
}

TEST(GatedDelta, EqualsItsFormula) {
  constexpr int64_t kKeys = 2, kValues = 4, kQkv = 2 * kKeys * kKeyDim + kValues * kValueDim;
  const std::vector<float> a_log = Numbers(kValues, 3), dt_bias = Numbers(kValues, 4);
  GatedDeltaOp op{.in = 0, .gates = 0, .out = 1, .layer = 0, .k_heads = kKeys, .v_heads = kValues, .k_dim = kKeyDim};
  op.v_dim = kValueDim;
  op.b_begin = kQkv;
  op.a_begin = kQkv + kValues;
  op.a_log = 0;
  op.dt_bias = 1;
  const LayerState state{.kind = StateKind::kRecurrent, .heads = kValues, .k_dim = kKeyDim, .v_dim = kValueDim};
  const Model model(kQkv + 2 * kValues, kValues * kValueDim, op, state, {a_log, dt_bias});
  Check(model, [&](const std::vector<int32_t>& tokens) {
    std::vector<std::vector<double>> rows(tokens.size());
    for (int64_t head = 0; head < kValues; ++head) {
      State s(kKeyDim, std::vector<double>(kValueDim));
      for (size_t t = 0; t < tokens.size(); ++t) {
        const float* in = model.input(tokens[t]);
        const auto unit = [&](int64_t begin, double scale) {
          std::vector<double> x(in + begin + head / 2 * kKeyDim, in + begin + (head / 2 + 1) * kKeyDim);
          double sum = 1e-6;
          for (const double v : x) sum += v * v;
          for (double& v : x) v *= scale / std::sqrt(sum);
          return x;
        };
        const std::vector<double> q = unit(0, 1 / std::sqrt(6.0)), k = unit(kKeys * kKeyDim, 1);
        const double a = static_cast<double>(in[op.a_begin + head]) + static_cast<double>(dt_bias[static_cast<size_t>(head)]);
        const double decay = std::exp(-std::exp(static_cast<double>(a_log[static_cast<size_t>(head)])) * std::log1p(std::exp(a)));
        const double beta = 1 / (1 + std::exp(-static_cast<double>(in[op.b_begin + head])));
        for (auto& row : s)
          for (double& v : row) v *= decay;
        const std::vector<double> known = Read(s, k);
        for (size_t i = 0; i < k.size(); ++i)
          for (size_t j = 0; j < known.size(); ++j)
            s[i][j] += k[i] * beta *
                       (static_cast<double>(in[2 * kKeys * kKeyDim + head * kValueDim + static_cast<int64_t>(j)]) - known[j]);
        for (const double v : Read(s, q)) rows[t].push_back(v);
      }
    }
    return rows;
  });
}

TEST(Lightning, IsASumOfDecayedProducts) {
  constexpr int64_t kHeads = 3;
  LightningOp op{.in = 0, .out = 1, .layer = 0, .heads = kHeads, .k_dim = kKeyDim, .v_dim = kValueDim, .decay = {0.9f, 0.5f, 0.1f}};
  const LayerState state{.kind = StateKind::kRecurrent, .heads = kHeads, .k_dim = kKeyDim, .v_dim = kValueDim};
  const Model model(kHeads * (2 * kKeyDim + kValueDim), kHeads * kValueDim, op, state, {});
  Check(model, [&](const std::vector<int32_t>& tokens) {
    std::vector<std::vector<double>> rows(tokens.size());
    for (int64_t head = 0; head < kHeads; ++head)
      for (size_t t = 0; t < tokens.size(); ++t) {
        std::vector<double> out(kValueDim);
        for (size_t past = 0; past <= t; ++past) {
          const float *now = model.input(tokens[t]), *then = model.input(tokens[past]);
          double product = std::pow(static_cast<double>(op.decay[static_cast<size_t>(head)]), static_cast<double>(t - past));
          double dot = 0;
          for (int64_t i = 0; i < kKeyDim; ++i)
            dot += static_cast<double>(now[head * kKeyDim + i]) * static_cast<double>(then[(kHeads + head) * kKeyDim + i]);
          product *= dot;
          for (int64_t j = 0; j < kValueDim; ++j)
            out[static_cast<size_t>(j)] += product * static_cast<double>(then[2 * kHeads * kKeyDim + head * kValueDim + j]);
        }
        rows[t].insert(rows[t].end(), out.begin(), out.end());
      }
    return rows;
  });
}

}  // namespace
}  // namespace nibble
