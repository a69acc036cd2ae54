// SPDX-License-Identifier: Apache-2.0
// Mixture of experts on the CPU. Rows are routed and laid out by expert; then the experts that got rows are computed together, each
// reading its weights once: the strips of all of them are one list that the workers divide, so the barriers of a layer do not grow
// with the number of experts. Long prompts go in passes, whose buffers are as large as a step's rows.
#include <algorithm>

#include "graph/cpu_executor.h"
#include "graph/passes.h"
#include "graph/router.h"

namespace nibble {
namespace {

int64_t PassRows(int64_t count) { return std::max<int64_t>(count, 64); }  // few rows at many experts are one pass
constexpr int64_t kReadCost = 8;                                          // of a strip's weights, in rows multiplied by it

// Rows of a group, counted from the first of the pass.
Range Cut(Range group, int64_t first, Range mine) {
  return {std::max(group.begin - first, mine.begin), std::min(group.end - first, mine.end)};
}

}  // namespace

int64_t CpuExecutor::MoeScratchBytes(const MoeSpec& spec, int64_t max_rows) {
  const int64_t width = 2 * spec.hidden + 3 * spec.inter + std::max(spec.hidden, spec.inter);
  return PassRows(max_rows) * width * static_cast<int64_t>(sizeof(float));
}

void CpuExecutor::Route(const MoeSpec& spec, const float* logits, int64_t row) {
  const float* bias = spec.choice_bias < 0 ? nullptr : weights_.vectors[static_cast<size_t>(spec.choice_bias)].data();
  int32_t* chosen = moe_.chosen.data() + row * spec.top_k;
  float* weights = moe_.chosen_weight.data() + row * spec.top_k;
  ChooseExperts(spec, logits, bias, ops_, chosen, weights);
  if (spec.expert_scales < 0) return;
  const std::vector<float>& scales = weights_.vectors[static_cast<size_t>(spec.expert_scales)];
  for (int64_t i = 0; i < spec.top_k; ++i) weights[i] *= scales[static_cast<size_t>(chosen[i])];
}

void CpuExecutor::RunOp(const MoeOp& op, int64_t count, Worker& w) {
  const MoeSpec& spec = graph_.moes[static_cast<size_t>(op.moe)];
  const int64_t pass_rows = PassRows(count);
  if (w.index == 0) {
    moe_.chosen.resize(static_cast<size_t>(count * spec.top_k));
    moe_.chosen_weight.resize(moe_.chosen.size());
    for (const auto& [buffer, width] : {std::pair{&moe_.in, spec.hidden},
                                        {&moe_.mid, 2 * spec.inter},
                                        {&moe_.act, spec.inter},
                                        {&moe_.out, spec.hidden},
                                        {&moe_.prepared, std::max(spec.hidden, spec.inter)}})
      buffer->resize(static_cast<size_t>(pass_rows * width));
  }
  team_->Barrier();
  const Range rows = MyRows(count, w);
  for (int64_t row = rows.begin; row < rows.end; ++row) Route(spec, Data(op.logits, w) + row * spec.experts, row);
  std::fill(Data(op.out, w) + rows.begin * spec.hidden, Data(op.out, w) + rows.end * spec.hidden, 0.0f);
  team_->Barrier();
  if (w.index == 0) GroupRows(spec, weights_.moes[static_cast<size_t>(op.moe)], count);
  team_->Barrier();
  for (auto first = moe_.groups.begin(); first != moe_.groups.end();) {
    const auto last = std::find_if(first + 1, moe_.groups.end(),
                                   [&](const ExpertGroup& group) { return group.rows.end - first->rows.begin > pass_rows; });
    RunPass(spec, op, {first, last}, rows, w);
    first = last;
  }
}

// Experts of other ranks get no group.
void CpuExecutor::GroupRows(const MoeSpec& spec, const std::vector<BoundExpert>& experts, int64_t count) {
  std::vector<std::vector<ExpertRow>> by_expert(experts.size());
  for (int64_t row = 0; row < count; ++row)
    for (int64_t i = 0; i < spec.top_k; ++i) {
      const auto at = static_cast<size_t>(row * spec.top_k + i);
      by_expert[static_cast<size_t>(moe_.chosen[at])].push_back({static_cast<int32_t>(row), moe_.chosen_weight[at]});
    }
  moe_.rows.clear();
  moe_.groups.clear();
  for (size_t e = 0; e < experts.size(); ++e) {
    if (by_expert[e].empty() || experts[e].w13.segments.empty()) continue;
    const auto begin = static_cast<int64_t>(moe_.rows.size());
    moe_.rows.insert(moe_.rows.end(), by_expert[e].begin(), by_expert[e].end());
    moe_.groups.push_back({&experts[e], {begin, static_cast<int64_t>(moe_.rows.size())}});
  }
}

// rows: the token rows whose results this worker sums.
void CpuExecutor::RunPass(const MoeSpec& spec, const MoeOp& op, std::span<const ExpertGroup> pass, Range rows, Worker& w) {
  const int64_t first = pass.front().rows.begin, hidden = spec.hidden, inter = spec.inter;
  const Range mine = MyRows(pass.back().rows.end - first, w);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    const auto& [row, weight] = moe_.rows[static_cast<size_t>(first + i)];
    const float* x = Data(op.in, w) + row * hidden;
    for (int64_t j = 0; j < hidden; ++j) moe_.in[static_cast<size_t>(i * hidden + j)] = spec.scale_input ? weight * x[j] : x[j];
  }
  MultiplyGroups(pass, &BoundExpert::w13, moe_.in.data(), moe_.mid.data(), w);
  for (const ExpertGroup& group : pass) {
    const PackedWeight& w13 = group.expert->w13;
    const Range cut = Cut(group.rows, first, mine);
    for (int64_t i = cut.begin; i < cut.end; ++i) {
      float* mid = moe_.mid.data() + i * 2 * inter;
      FinishRow(w13, w13.inputs, {0, hidden}, moe_.in.data() + i * hidden, hidden, mid, w);
      RunGate(spec.gate, mid, mid + inter, inter, moe_.act.data() + i * inter);
    }
  }
  MultiplyGroups(pass, &BoundExpert::w2, moe_.act.data(), moe_.out.data(), w);
  for (const ExpertGroup& group : pass) {
    const PackedWeight& w2 = group.expert->w2;
    for (int64_t i = group.rows.begin; i < group.rows.end; ++i) {
      const auto& [row, weight] = moe_.rows[static_cast<size_t>(i)];
      if (row < rows.begin || row >= rows.end) continue;
      float* out = moe_.out.data() + (i - first) * hidden;
      FinishRow(w2, w2.inputs, {0, inter}, moe_.act.data() + (i - first) * inter, inter, out, w);
      ops_.add(Data(op.out, w) + row * hidden, out, spec.scale_input ? 1 : weight, hidden);
    }
  }
}

// What input number `input` of each expert demands of its rows of x, into moe_.prepared; the rows that this worker owns.
void CpuExecutor::PrepareGroups(std::span<const ExpertGroup> pass, PackedWeight BoundExpert::*which, size_t input, const float* x,
                                Worker& w) {
  const int64_t first = pass.front().rows.begin;
  const Range mine = MyRows(pass.back().rows.end - first, w);
  for (const ExpertGroup& group : pass) {
    const PackedWeight& weight = group.expert->*which;
    const Range cut = Cut(group.rows, first, mine);
    if (cut.empty() || input >= weight.inputs.size() || weight.inputs[input].plain()) continue;
    // The group's rows are a block of their own.
    const int64_t begin = group.rows.begin - first, count = group.rows.size();
    const Range rows{cut.begin - begin, cut.end - begin};
    const float* in = x + begin * weight.k;
    float* out = moe_.prepared.data() + begin * weight.k;
    if (NeedsAllRows(weight.inputs[input].act))
      PrepareTensor(weight.inputs[input], in, weight.k, {0, count}, rows, count, out, w);
    else
      PrepareRows(weight.inputs[input], in, weight.k, rows, count, out, w);
  }
}

// y [rows of the pass, n] = prepared x times one of each expert's weights; ends with all workers done. The parts of an expert agree
// on what they demand of x in every known checkpoint; distinct demands are run one after the other.
void CpuExecutor::MultiplyGroups(std::span<const ExpertGroup> pass, PackedWeight BoundExpert::*which, const float* x, float* y,
                                 Worker& w) {
  size_t inputs = 1;
  bool all_rows = false;
  int64_t cost = 0;  // of the strips of all groups: their weights are read once, their rows multiplied one by one
  const auto strip_cost = [](const ExpertGroup& group) { return kReadCost + group.rows.size(); };
  for (const ExpertGroup& group : pass) {
    const PackedWeight& weight = group.expert->*which;
    inputs = std::max(inputs, weight.inputs.size());
    for (const PackedWeight::Input& input : weight.inputs) all_rows |= NeedsAllRows(input.act);
    cost += weight.strips() * strip_cost(group);
  }
  const Range share = SplitRange(cost, w.index, team_->size());
  if (all_rows) team_->Barrier();
  for (size_t input = 0; input < inputs; ++input) {
    PrepareGroups(pass, which, input, x, w);
    team_->Barrier();
    int64_t at = 0;
    for (const ExpertGroup& group : pass) {
      const PackedWeight& weight = group.expert->*which;
      const int64_t each = strip_cost(group), row = group.rows.begin - pass.front().rows.begin;
      // Strips that begin in this worker's share.
      Range strips{CeilDiv(std::max<int64_t>(share.begin - at, 0), each), CeilDiv(std::max<int64_t>(share.end - at, 0), each)};
      strips.end = std::min(strips.end, weight.strips());
      at += weight.strips() * each;
      if (strips.empty()) continue;
      const bool plain = input >= weight.inputs.size() || weight.inputs[input].plain();
      const float* in = plain ? x : moe_.prepared.data();
      RunStrips(weight, static_cast<int>(input), strips,
                {in + row * weight.k, weight.k, y + row * weight.n, weight.n, group.rows.size()}, w.linear.data());
    }
    team_->Barrier();
  }
}

}  // namespace nibble
