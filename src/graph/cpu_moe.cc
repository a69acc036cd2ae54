// SPDX-License-Identifier: Apache-2.0
// Mixture of experts on the CPU: rows are routed, then each expert that got rows computes them together, reading its weights once.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "graph/cpu_executor.h"
#include "graph/passes.h"

namespace nibble {

// Chooses top_k experts of one row: equal scores go to the lower expert.
void CpuExecutor::Route(const MoeSpec& spec, const float* logits, int64_t row) {
  std::vector<float> p(logits, logits + spec.experts);
  if (spec.router == RouterKind::kSoftmaxTopK) ops_.softmax(p.data(), spec.experts);
  std::vector<int32_t> order(static_cast<size_t>(spec.experts));
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + spec.top_k, order.end(), [&](int32_t a, int32_t b) {
    const float pa = p[static_cast<size_t>(a)], pb = p[static_cast<size_t>(b)];
    return pa != pb ? pa > pb : a < b;
  });
  std::vector<float> weights(static_cast<size_t>(spec.top_k));
  for (int64_t i = 0; i < spec.top_k; ++i) weights[static_cast<size_t>(i)] = p[static_cast<size_t>(order[static_cast<size_t>(i)])];
  if (spec.router == RouterKind::kTopKSoftmax)
    ops_.softmax(weights.data(), spec.top_k);
  else if (spec.renormalize) {
    const float sum = std::accumulate(weights.begin(), weights.end(), 0.0f);
    for (float& weight : weights) weight /= sum;
  }
  for (int64_t i = 0; i < spec.top_k; ++i) {
    chosen_[static_cast<size_t>(row * spec.top_k + i)] = order[static_cast<size_t>(i)];
    chosen_weight_[static_cast<size_t>(row * spec.top_k + i)] = weights[static_cast<size_t>(i)];
  }
}

void CpuExecutor::RunOp(const MoeOp& op, int64_t count, Worker& w) {
  const MoeSpec& spec = graph_.moes[static_cast<size_t>(op.moe)];
  const auto& experts = weights_.moes[static_cast<size_t>(op.moe)];
  if (w.index == 0) {
    chosen_.resize(static_cast<size_t>(count * spec.top_k));
    chosen_weight_.resize(chosen_.size());
    expert_in_.resize(static_cast<size_t>(count * spec.hidden));
    expert_mid_.resize(static_cast<size_t>(count * 2 * spec.inter));
    expert_act_.resize(static_cast<size_t>(count * spec.inter));
    expert_out_.resize(static_cast<size_t>(count * spec.hidden));
    expert_prepared_.resize(static_cast<size_t>(count * std::max(spec.hidden, spec.inter)));
  }
  team_->Barrier();
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row) Route(spec, Data(op.logits) + row * spec.experts, row);
  std::fill(Data(op.out) + rows.begin * spec.hidden, Data(op.out) + rows.end * spec.hidden, 0.0f);
  team_->Barrier();
  if (w.index == 0) {
    expert_rows_.assign(static_cast<size_t>(spec.experts), {});
    for (int64_t row = 0; row < count; ++row)
      for (int64_t i = 0; i < spec.top_k; ++i) {
        const auto at = static_cast<size_t>(row * spec.top_k + i);
        expert_rows_[static_cast<size_t>(chosen_[at])].emplace_back(static_cast<int32_t>(row), chosen_weight_[at]);
      }
  }
  team_->Barrier();
  for (size_t e = 0; e < experts.size(); ++e)
    if (!expert_rows_[e].empty() && !experts[e].w13.segments.empty()) RunExpert(spec, experts[e], op, static_cast<int64_t>(e), w);
}

// y [rows, packed.n] = prepared x times the packed weight; ends with all workers done.
void CpuExecutor::RunPacked(const PackedWeight& weight, const float* x, int64_t rows, float* y, Worker& w) {
  // Parts of an expert agree on what they demand of x in every known checkpoint; distinct demands are run one after the other.
  for (size_t i = 0; i < weight.inputs.size(); ++i) {
    const float* in = x;
    if (!weight.inputs[i].plain()) {
      if (NeedsAllRows(weight.inputs[i].act))
        PrepareTensor(weight.inputs[i], x, weight.k, {0, rows}, MyRows(rows, w), expert_prepared_.data(), w);
      else
        PrepareRows(weight.inputs[i], x, weight.k, MyRows(rows, w), expert_prepared_.data(), w);
      team_->Barrier();
      in = expert_prepared_.data();
    }
    const Range mine = SplitRange(weight.strips(), w.index, team_->size());
    int64_t first = 0;
    for (const Segment& segment : weight.segments) {
      const Range strips{std::max(mine.begin - first, int64_t{0}), std::min(mine.end - first, segment.strips())};
      first += segment.strips();
      if (strips.empty() || segment.input != static_cast<int>(i)) continue;
      segment.by_m[static_cast<size_t>(MBucket(rows))]->run(segment, strips, {in, weight.k, y, weight.n, rows}, w.linear.data());
    }
    team_->Barrier();
  }
  if (weight.outputs.empty()) return;
  const Range mine = MyRows(rows, w);  // the rows that this worker goes on with
  for (int64_t row = mine.begin; row < mine.end; ++row)
    FinishRow(weight, weight.inputs, {0, weight.k}, x + row * weight.k, weight.k, y + row * weight.n, w);
}

void CpuExecutor::RunExpert(const MoeSpec& spec, const BoundExpert& expert, const MoeOp& op, int64_t index, Worker& w) {
  const auto& list = expert_rows_[static_cast<size_t>(index)];
  const auto count = static_cast<int64_t>(list.size());
  const Range rows = MyRows(count, w);
  for (int64_t i = rows.begin; i < rows.end; ++i)
    std::memcpy(expert_in_.data() + i * spec.hidden, Data(op.in) + list[static_cast<size_t>(i)].first * spec.hidden,
                static_cast<size_t>(spec.hidden) * sizeof(float));
  team_->Barrier();
  RunPacked(expert.w13, expert_in_.data(), count, expert_mid_.data(), w);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float* mid = expert_mid_.data() + i * 2 * spec.inter;
    ops_.gated(spec.act, mid, mid + spec.inter, spec.inter, expert_act_.data() + i * spec.inter);
  }
  team_->Barrier();
  RunPacked(expert.w2, expert_act_.data(), count, expert_out_.data(), w);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const auto& [row, weight] = list[static_cast<size_t>(i)];
    ops_.add(Data(op.out) + row * spec.hidden, expert_out_.data() + i * spec.hidden, weight, spec.hidden);
  }
  team_->Barrier();
}

}  // namespace nibble
